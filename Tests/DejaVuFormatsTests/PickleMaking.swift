import DejaVuFormats
import Foundation
import Testing

/// Writes pickles by hand, for tests that PyTorch would not write files for.
enum Pickle {
  static func text(_ text: String) -> [UInt8] {
    [0x58] + little(UInt32(text.utf8.count)) + text.utf8
  }
  static func integer(_ value: Int) -> [UInt8] {
    [0x8A, 8] + little(UInt64(bitPattern: Int64(value)))
  }
  static func global(_ module: String, _ name: String) -> [UInt8] {
    Array("c\(module)\n\(name)\n".utf8)
  }
  static func tuple(_ items: [[UInt8]]) -> [UInt8] { ascii("(") + items.joined() + ascii("t") }
  static func integers(_ values: [Int]) -> [UInt8] { tuple(values.map(integer)) }
  static func call(_ function: [UInt8], _ arguments: [[UInt8]]) -> [UInt8] {
    function + tuple(arguments) + ascii("R")
  }
  static let no: [UInt8] = [0x89]
  static let none = ascii("N")
  static let orderedDict = call(global("collections", "OrderedDict"), [])

  static func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }

  static func storage(
    _ key: String = "0", count: Int = 4, type: [UInt8] = global("torch", "FloatStorage"),
    word: String = "storage"
  ) -> [UInt8] {
    tuple([text(word), type, text(key), text("cpu"), integer(count)]) + ascii("Q")
  }

  static func tensor(
    _ storage: [UInt8] = storage(), offset: Int = 0, size: [Int] = [4], strides: [Int] = [1],
    hooks: [UInt8] = orderedDict, more: [[UInt8]] = []
  ) -> [UInt8] {
    call(
      global("torch._utils", "_rebuild_tensor_v2"),
      [storage, integer(offset), integers(size), integers(strides), no, hooks] + more)
  }

  static func typedTensor(
    _ storage: [UInt8], type: [UInt8], size: [Int], strides: [Int] = [1]
  ) -> [UInt8] {
    call(
      global("torch._utils", "_rebuild_tensor_v3"),
      [storage, integer(0), integers(size), integers(strides), no, orderedDict, type])
  }

  static func dict(_ pairs: [(String, [UInt8])]) -> [UInt8] {
    ascii("}(") + pairs.flatMap { text($0.0) + $0.1 } + ascii("u")
  }

  /// A whole pickle of `value`.
  static func file(_ value: [UInt8]) -> [UInt8] { [0x80, 2] + value + ascii(".") }
}

func little(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

/// Writes zip archives, truthful by default.
struct Zip {
  struct Entry {
    var name: [UInt8]
    var data: [UInt8]
    var method: UInt16 = 0
    var flags: UInt16 = 0
    /// What the local header says; nil for the truth.
    var localName: [UInt8]?
    var localMethod: UInt16?
    var localSize: UInt32?
    var localSignature: UInt32 = 0x0403_4B50
    /// What the directory says; nil for the truth.
    var size: UInt32?
    var compressedSize: UInt32?
    var offset: UInt32?
    var extra: [UInt8] = []
    var localExtra: [UInt8] = []

    init(_ name: String, _ data: [UInt8]) {
      self.name = Array(name.utf8)
      self.data = data
    }

    fileprivate var local: [UInt8] {
      let localName = localName ?? name
      return little(localSignature) + little(UInt16(0)) + little(flags)
        + little(localMethod ?? method) + little(UInt64(0))
        + little(localSize ?? UInt32(data.count)) + little(localSize ?? UInt32(data.count))
        + little(UInt16(localName.count)) + little(UInt16(localExtra.count)) + localName
        + localExtra + data
    }

    fileprivate func central(at position: Int) -> [UInt8] {
      little(UInt32(0x0201_4B50)) + little(UInt32(0)) + little(flags) + little(method)
        + little(UInt64(0)) + little(compressedSize ?? size ?? UInt32(data.count))
        + little(size ?? UInt32(data.count)) + little(UInt16(name.count))
        + little(UInt16(extra.count)) + [UInt8](repeating: 0, count: 10)
        + little(offset ?? UInt32(position)) + name + extra
    }
  }

  var entries: [Entry]
  /// What the end record says; nil for the truth.
  var count: UInt16?
  var directorySize: UInt32?
  var directoryOffset: UInt32?
  var disk: UInt16 = 0
  var comment: [UInt8] = []
  /// The 64-bit end record's count, size and offset, given the true ones; nil for no such record.
  var large: ((UInt64, UInt64, UInt64) -> (UInt64, UInt64, UInt64))?

  /// A checkpoint with that pickle and one storage, "0", of four floats.
  init(pickle: [UInt8], storage: [UInt8] = [UInt8](repeating: 1, count: 16)) {
    entries = [Entry("model/data.pkl", pickle), Entry("model/data/0", storage)]
  }

  /// A checkpoint of one tensor, "weight", whose last entry has been changed.
  init(changing change: (inout Entry) -> Void) {
    self.init(pickle: Pickle.file(Pickle.dict([("weight", Pickle.tensor())])))
    change(&entries[1])
  }

  var bytes: [UInt8] {
    var result: [UInt8] = []
    var directory: [UInt8] = []
    for entry in entries {
      directory += entry.central(at: result.count)
      result += entry.local
    }
    let start = result.count
    result += directory
    if let large {
      let (count, size, offset) = large(
        UInt64(entries.count), UInt64(directory.count), UInt64(start))
      let record = result.count
      result += little(UInt32(0x0606_4B50)) + little(UInt64(44)) + little(UInt32(0))
      result += little(UInt64(0)) + little(count) + little(count) + little(size) + little(offset)
      result += little(UInt32(0x0706_4B50)) + little(UInt32(0)) + little(UInt64(record))
      result += little(UInt32(1))
    }
    let count = count ?? UInt16(entries.count)
    result += little(UInt32(0x0605_4B50)) + little(disk) + little(disk) + little(count)
    result += little(count) + little(directorySize ?? UInt32(directory.count))
    result += little(directoryOffset ?? UInt32(start)) + little(UInt16(comment.count)) + comment
    return result
  }
}

/// A file that a test wrote, deleted when the test lets go of it.
final class TemporaryFile {
  let path: String

  init(_ bytes: [UInt8]) throws {
    path = NSTemporaryDirectory() + "dejavu-\(UUID().uuidString).bin"
    // Not Data.write, which waits for the disk: the fuzz tests write thousands of files.
    let stream = try #require(fopen(path, "wb"))
    let count = fwrite(bytes, 1, bytes.count, stream)
    try #require(fclose(stream) == 0 && count == bytes.count)
  }

  deinit { unlink(path) }
}

/// Bytes that must be refused, how, and a part of what must be said.
struct Refused: CustomStringConvertible {
  enum Kind { case unreadable, malformed, invalidTensor, forbiddenPickle, unsupported }

  let description: String
  let bytes: [UInt8]
  let kind: Kind
  let saying: String

  init(_ description: String, _ kind: Kind, _ saying: String, _ bytes: [UInt8]) {
    self.description = description
    self.bytes = bytes
    self.kind = kind
    self.saying = saying
  }

  /// A state dict whose only value is `value`.
  init(_ description: String, _ kind: Kind, _ saying: String, value: [UInt8]) {
    let pickle = Pickle.file(Pickle.dict([("weight", value)]))
    self.init(description, kind, saying, Zip(pickle: pickle).bytes)
  }

  /// A pickle that consists of `opcodes` alone.
  init(_ description: String, _ kind: Kind, _ saying: String, opcodes: [UInt8]) {
    self.init(description, kind, saying, Zip(pickle: opcodes).bytes)
  }
}

extension CheckpointError {
  var kind: Refused.Kind? {
    switch self {
    case .unreadable: .unreadable
    case .malformed: .malformed
    case .invalidTensor: .invalidTensor
    case .forbiddenPickle: .forbiddenPickle
    case .unsupported: .unsupported
    default: nil
    }
  }
}

extension TensorEntry {
  /// The tensor's bytes, copied while the mapping is certain to live.
  var copiedBytes: [UInt8] { withExtendedLifetime(file) { Array(bytes) } }
}

/// Why the file at `path` was refused; nil if it was not.
func refusal(ofFileAt path: String) -> CheckpointError? {
  do throws(CheckpointError) {
    _ = try PickleCheckpointFile.entries(path: path)
    return nil
  } catch {
    return error
  }
}

func refusal(of bytes: [UInt8]) throws -> CheckpointError? {
  let file = try TemporaryFile(bytes)
  return withExtendedLifetime(file) { refusal(ofFileAt: file.path) }
}
