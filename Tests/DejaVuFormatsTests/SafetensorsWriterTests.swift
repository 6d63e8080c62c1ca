import DejaVuFormats
import Testing

@Suite struct `Safetensors writer` {
  private func declare(_ name: String, _ type: StoredType, _ shape: [Int])
    -> SafetensorsDeclaration
  {
    SafetensorsDeclaration(name: name, type: type, shape: shape)
  }

  @Test func `what is written is read back`() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/m.safetensors"
    let metadata = ["format": "pt", "quote\"\\\n": "\u{1F600}\u{1}"]
    let writer = try SafetensorsWriter(
      path: path,
      tensors: [
        declare("ids", .int64, [3]), declare("w", .float32, [2, 2]), declare("n", .int32, [1]),
        declare("h", .float16, [2]), declare("b", .bfloat16, [1]), declare("q", .int8, [3]),
        declare("u \"\\é", .uint8, []), declare("empty", .float32, [4, 0]),
      ], metadata: metadata)
    try writer.append([1, -2, Int64.max], to: "ids")
    try writer.append([1.5, -2] as [Float], to: "w")
    try writer.append([3, 4] as [Float], to: "w")
    try writer.append([-7] as [Int32], to: "n")
    try writer.append([0x3C00, 0xC000] as [UInt16], to: "h")
    try writer.append([0x3F80] as [UInt16], to: "b")
    try writer.append([-1, 0, 1] as [Int8], to: "q")
    try writer.append([255] as [UInt8], to: "u \"\\é")
    try writer.finish()

    let file = try SafetensorsFile(path: path)
    #expect(file.metadata == metadata)
    #expect(file.entries.map { $0.storedType } == StoredTypes.written)
    #expect(file.entries.map { $0.shape } == [[3], [2, 2], [1], [2], [1], [3], [], [4, 0]])
    #expect(file.entries[0].range.lowerBound % 64 == 0)
    #expect(
      file.entries[0].withBytes { $0.loadUnaligned(fromByteOffset: 16, as: Int64.self) } == .max)
    let view = TensorView(tensor: "w", storedShape: [2, 2], rows: 2, columns: 2, rowStride: 2)
    #expect(WeightMap.row(0, of: view, in: file.entries[1]) == [1.5, -2])
    #expect(WeightMap.row(1, of: view, in: file.entries[1]) == [3, 4])
    #expect(WeightMap.row(0, of: vector("h", 2, asRow: true), in: file.entries[3]) == [1, -2])
    #expect(WeightMap.row(0, of: vector("b", 1, asRow: true), in: file.entries[4]) == [1])
    #expect(file.entries[6].name == "u \"\\é")
    #expect(file.entries[6].withBytes { Array($0) } == [255])
    #expect(try folder.contents == ["m.safetensors"])
  }

  private enum StoredTypes {
    static let written = ["I64", "F32", "I32", "F16", "BF16", "I8", "U8", "F32"]
  }

  @Test(arguments: 0..<70) func `data starts at a multiple of 64 bytes`(width: Int) throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/m.safetensors"
    let name = String(repeating: "x", count: width)
    let writer = try SafetensorsWriter(path: path, tensors: [declare(name, .uint8, [1])])
    try writer.append([1] as [UInt8], to: name)
    try writer.finish()
    #expect(try SafetensorsFile(path: path).entries[0].range.lowerBound % 64 == 0)
  }

  @Test func `pieces larger than the buffer keep their order`() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/m.safetensors"
    let count = 3_000_001
    let writer = try SafetensorsWriter(path: path, tensors: [declare("a", .uint8, [count])])
    let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
    var start = 0
    for size in [1, 1000, 2_000_000, 7, count] {
      let end = min(start + size, count)
      try writer.append(Array(bytes[start..<end]), to: "a")
      start = end
    }
    try writer.finish()
    #expect(try SafetensorsFile(path: path).entries[0].withBytes { $0.elementsEqual(bytes) })
  }

  @Test func `a file already there stays until the new one is complete`() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("m.safetensors", "old")
    let writer = try SafetensorsWriter(path: path, tensors: [declare("a", .uint8, [1])])
    #expect(try MappedFile(path: path).withBytes { $0.elementsEqual("old".utf8) })
    try writer.append([1] as [UInt8], to: "a")
    try writer.finish()
    #expect(try SafetensorsFile(path: path).entries.count == 1)
  }

  @Test func `a dropped writer leaves nothing`() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/m.safetensors"
    do {
      let writer = try SafetensorsWriter(path: path, tensors: [declare("a", .uint8, [1])])
      #expect(try folder.contents.count == 1)
      _ = writer
    }
    #expect(try folder.contents == [])
  }

  @Test func `too few, too many or misdirected bytes fail and leave nothing`() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/m.safetensors"
    let tensors = [declare("a", .uint8, [2]), declare("b", .uint8, [1])]
    let few = message(in: folder) {
      let writer = try SafetensorsWriter(path: path, tensors: tensors)
      try writer.append([1] as [UInt8], to: "a")
      try writer.finish()
    }
    #expect(few == "cannot write 'FOLDER/m.safetensors': tensor 'a' has 1 of 2 bytes")
    let many = message(in: folder) {
      let writer = try SafetensorsWriter(path: path, tensors: tensors)
      try writer.append([1, 2, 3] as [UInt8], to: "a")
    }
    #expect(
      many == "cannot write 'FOLDER/m.safetensors': "
        + "tensor 'a' was declared with 2 bytes and got more")
    let misdirected = message(in: folder) {
      let writer = try SafetensorsWriter(path: path, tensors: tensors)
      try writer.append([1] as [UInt8], to: "b")
    }
    #expect(
      misdirected == "cannot write 'FOLDER/m.safetensors': "
        + "bytes came for tensor 'b' when it was the turn of 'a'")
    let late = message(in: folder) {
      let writer = try SafetensorsWriter(path: path, tensors: [])
      writer.abandon()
      try writer.finish()
    }
    #expect(
      late == "cannot write 'FOLDER/m.safetensors': writing was already finished or given up")
    #expect(try folder.contents == [])
  }

  @Test func `declarations that could not be read back are refused`() throws {
    let folder = try TemporaryFolder()
    let hopeless: [[SafetensorsDeclaration]] = [
      [declare("a", .uint8, [1]), declare("a", .uint8, [1])],
      [declare("__metadata__", .uint8, [1])], [declare("a\n", .uint8, [1])],
      [declare(String(repeating: "n", count: 1025), .uint8, [1])],
      [declare("a", .uint8, [-1])], [declare("a", .float4, [3])],
      [declare("a", .float32, [1 << 40, 1 << 40])], [declare("a", .uint8, [1 << 49])],
      [declare("a", .uint8, [1, 1, 1, 1, 1, 1, 1, 1, 1])],
    ]
    for tensors in hopeless {
      #expect(throws: CheckpointError.self) {
        try SafetensorsWriter(path: folder.path + "/m.safetensors", tensors: tensors)
      }
    }
    #expect(try folder.contents == [])
  }

  @Test func `a target that cannot be written is refused with the system's reason`() throws {
    let folder = try TemporaryFolder()
    let missing = message(in: folder) {
      _ = try SafetensorsWriter(path: folder.path + "/none/m.safetensors", tensors: [])
    }
    #expect(missing == "cannot write 'FOLDER/none/m.safetensors': No such file or directory")
    let directory = try TemporaryFolder()
    try directory.write("x", "")
    let onto = message(in: directory) {
      try SafetensorsWriter(path: directory.path, tensors: []).finish()
    }
    #expect(onto == "cannot write 'FOLDER': Is a directory")
  }
}
