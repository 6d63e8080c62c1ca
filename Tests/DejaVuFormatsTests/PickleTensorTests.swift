import DejaVuFormats
import Testing

/// Sizes, strides and offsets that a pickle claims against the storage that the archive holds.
@Suite struct PickleTensorTests {
  private static let p = Pickle.self

  static let refused: [Refused] = [
    .init(
      "a storage larger than its data", .invalidTensor, "storage '0' of 5 elements",
      value: p.tensor(p.storage(count: 5))),
    .init(
      "a storage smaller than its data", .invalidTensor, "has 16 bytes",
      value: p.tensor(p.storage(count: 3), size: [3])),
    .init(
      "a storage of another type", .invalidTensor, "(DoubleStorage) has 16 bytes",
      value: p.tensor(p.storage(type: p.global("torch", "DoubleStorage")))),
    .init(
      "a storage whose size wraps to its data's", .invalidTensor, "storage '0'",
      value: p.tensor(p.storage(count: 1 << 62 | 4))),
    .init("a storage of -4 elements", .invalidTensor, "-4", value: p.tensor(p.storage(count: -4))),
    .init(
      "no data for a storage", .invalidTensor, "no data for its storage '7'",
      value: p.tensor(p.storage("7"))),
    .init(
      "a storage key that climbs", .invalidTensor, "no data for its storage '../0'",
      value: p.tensor(p.storage("../0"))),
    .init(
      "a tensor past its storage", .invalidTensor, "5 elements at 0 do not fit",
      value: p.tensor(size: [5])),
    .init(
      "an offset past its storage", .invalidTensor, "4 elements at 1 do not fit",
      value: p.tensor(offset: 1)),
    .init(
      "an empty tensor past its storage", .invalidTensor, "0 elements at 5",
      value: p.tensor(offset: 5, size: [0])),
    .init("a negative offset", .invalidTensor, "at -1", value: p.tensor(offset: -1)),
    .init("an offset that wraps", .invalidTensor, "do not fit", value: p.tensor(offset: .max)),
    .init("the least offset", .invalidTensor, "do not fit", value: p.tensor(offset: .min)),
    .init("a negative size", .invalidTensor, "natural", value: p.tensor(size: [-4])),
    .init(
      "two negative sizes", .invalidTensor, "natural",
      value: p.tensor(size: [-2, -2], strides: [2, 1])),
    .init(
      "a negative stride", .invalidTensor, "natural",
      value: p.tensor(offset: 3, strides: [-1])),
    .init(
      "a size that wraps to 4", .invalidTensor, "overflows",
      value: p.tensor(size: [1 << 62, 16, 4], strides: [64, 4, 1])),
    .init(
      "a size that wraps beside a zero", .invalidTensor, "overflows",
      value: p.tensor(size: [1 << 40, 1 << 40, 0], strides: [1, 1, 1])),
    .init("the greatest size", .invalidTensor, "overflows", value: p.tensor(size: [.max])),
    .init(
      "the greatest stride", .unsupported, "row-major",
      value: p.tensor(size: [2, 2], strides: [.max, 1])),
    .init(
      "fewer strides than axes", .invalidTensor, "natural",
      value: p.tensor(size: [2, 2], strides: [1])),
    .init(
      "nine axes", .invalidTensor, "natural",
      value: p.tensor(size: Array(repeating: 1, count: 9), strides: Array(repeating: 1, count: 9))),
    .init(
      "a size that is a string", .invalidTensor, "natural",
      value: p.call(
        p.global("torch._utils", "_rebuild_tensor_v2"),
        [
          p.storage(), p.integer(0), p.tuple([p.text("4")]), p.integers([1]), p.no, p.orderedDict,
        ])),
    .init(
      "a repeated row", .unsupported, "[2, 2] has strides [0, 1]",
      value: p.tensor(size: [2, 2], strides: [0, 1])),
    .init(
      "a transposed matrix", .unsupported, "'weight' of shape [2, 2] has strides [1, 2]",
      value: p.tensor(size: [2, 2], strides: [1, 2])),
    .init(
      "a tensor of types that do not fill its storage", .invalidTensor, "9 elements at 0",
      value: p.typedTensor(
        p.storage(count: 16, type: p.global("torch.storage", "UntypedStorage")),
        type: p.global("torch", "uint16"), size: [9])),
  ]

  @Test(arguments: refused)
  func `a tensor that contradicts itself or its storage is refused by name`(file: Refused) throws {
    let error = try #require(try refusal(of: file.bytes))
    #expect(error.kind == file.kind, "\(error)")
    #expect(error.description.contains(file.saying), "\(error)")
    #expect(error.description.contains("'weight'"), "\(error)")
  }

  @Test(arguments: [
    ([4], [1], 0), ([2, 2], [2, 1], 0), ([1, 4], [77, 1], 0), ([4, 1], [1, 9], 0), ([], [], 3),
    ([3], [1], 1), ([0, 3], [5, 9], 4), ([1, 1], [0, 0], 2),
  ])
  func `row-major tensors are found wherever they start`(
    size: [Int], strides: [Int], offset: Int
  ) throws {
    let tensor = Pickle.tensor(offset: offset, size: size, strides: strides)
    let zip = Zip(
      pickle: Pickle.file(Pickle.dict([("weight", tensor)])), storage: Array(0..<16))
    let file = try TemporaryFile(zip.bytes)
    let entry = try #require(try PickleCheckpointFile.entries(path: file.path).first)
    let count = size.reduce(1, *)
    #expect(entry.shape == size)
    let first = UInt8(offset * 4)
    #expect(entry.copiedBytes == Array(first..<first + UInt8(count * 4)))
  }
}
