import DejaVuCore
import DejaVuFormats
import Foundation
import Testing

/// Files that a real PyTorch wrote; `Fixtures/pickle/make_pickles.py` made them.
@Suite struct PickleCheckpointTests {
  struct ExpectedTensor: Decodable {
    let name: String
    let type: String
    let shape: [Int]
    let crc32: UInt32
  }

  static func path(_ file: String) throws -> String {
    let folder = try #require(Bundle.module.resourceURL)
    return folder.appendingPathComponent("Fixtures/pickle/" + file).path
  }

  @Test(arguments: [
    "types.bin", "module.bin", "protocol4.bin", "views.bin", "odd-name.bin", "no-tensors.bin",
    "tiny-opt.bin",
  ])
  func `every tensor that torch saved is found with its bytes`(file: String) throws {
    let json = try Data(contentsOf: URL(fileURLWithPath: Self.path("expected.json")))
    let all = try JSONDecoder().decode([String: [ExpectedTensor]].self, from: json)
    let expected = try #require(all[file])
    let found = try PickleCheckpointFile.entries(path: Self.path(file))
    #expect(found.map(\.name) == expected.map(\.name))
    for (tensor, other) in zip(found, expected) {
      #expect(tensor.shape == other.shape, "\(tensor.name)")
      #expect(tensor.storedType == other.type, "\(tensor.name)")
      #expect(crc32(tensor.copiedBytes) == other.crc32, "\(tensor.name)")
    }
  }

  @Test func `only the types of weights have a data type`() throws {
    let found = try PickleCheckpointFile.entries(path: Self.path("types.bin"))
    let types = Dictionary(uniqueKeysWithValues: found.map { ($0.name, $0.dtype) })
    #expect(types["float"] == .float32)
    #expect(types["half"] == .float16)
    #expect(types["brain"] == .bfloat16)
    #expect(types["parameter"] == .float32)
    for name in ["double", "long", "int", "short", "char", "byte", "bool", "uint16", "float8"] {
      #expect(types[name] == .some(nil), "\(name)")
    }
  }

  @Test func `tied weights share their bytes`() throws {
    let found = try PickleCheckpointFile.entries(path: Self.path("module.bin"))
    let ranges = Dictionary(uniqueKeysWithValues: found.map { ($0.name, $0.range) })
    #expect(ranges["first.weight"] == ranges["second.weight"])
    #expect(ranges["first.bias"] != ranges["second.bias"])
  }

  @Test(arguments: [
    ("legacy.bin", Refused.Kind.unsupported, "before version 1.6; load it with a current PyTorch"),
    ("transposed.bin", .unsupported, "'weight' of shape [6, 4] has strides [1, 6]"),
    ("nested.bin", .unsupported, "'state_dict' is a dict"),
    ("bare-tensor.bin", .unsupported, "it holds a tensor"),
    ("list.bin", .unsupported, "it holds a list"),
    ("whole-module.bin", .forbiddenPickle, "'torch.nn.modules.linear.Linear'"),
    ("sparse.bin", .forbiddenPickle, "'torch._utils._rebuild_sparse_tensor'"),
    ("negated.bin", .forbiddenPickle, "hooks or metadata"),
    ("complex.bin", .forbiddenPickle, "'torch.ComplexFloatStorage'"),
    ("system.bin", .forbiddenPickle, "'posix.system'"),
    ("eval.bin", .forbiddenPickle, "'__builtin__.eval'"),
    ("eval4.bin", .forbiddenPickle, "'builtins.eval'"),
  ])
  func `what torch can save and a plain checkpoint is not is refused by name`(
    file: String, kind: Refused.Kind, saying: String
  ) throws {
    let error = try #require(refusal(ofFileAt: Self.path(file)))
    #expect(error.kind == kind, "\(error)")
    #expect(error.description.contains(saying), "\(error)")
    #expect(!FileManager.default.fileExists(atPath: "/tmp/dejavu-pickle-was-executed"))
  }

  /// CRC-32 as zlib and Python compute it.
  private func crc32(_ bytes: [UInt8]) -> UInt32 {
    var sum = ~UInt32(0)
    for byte in bytes {
      sum ^= UInt32(byte)
      for _ in 0..<8 {
        let isOdd = sum & 1 != 0
        sum >>= 1
        if isOdd { sum ^= 0xEDB8_8320 }
      }
    }
    return ~sum
  }
}
