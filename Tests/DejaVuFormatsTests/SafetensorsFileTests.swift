import DejaVuFormats
import Foundation
import Testing

@Suite struct `Safetensors files` {
  private func open(_ bytes: [UInt8]) throws -> SafetensorsFile {
    let folder = try TemporaryFolder()
    return try SafetensorsFile(path: folder.write("m.safetensors", bytes))
  }

  @Test(arguments: ["{}", "  {}", "{}\n\t ", "{\"__metadata__\":{}}"])
  func `a file without tensors loads`(header: String) throws {
    #expect(try open(safetensors(header)).entries.isEmpty)
  }

  @Test func `rank zero is a single element`() throws {
    let file = try open(
      safetensors("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", data: 4))
    #expect(file.entries[0].shape == [])
    #expect(file.entries[0].range.count == 4)
  }

  @Test func `a dimension of zero is an empty tensor, even between others`() throws {
    let header = """
      {"b":{"dtype":"I8","shape":[2],"data_offsets":[1,3]},
       "e":{"dtype":"F64","shape":[7,0],"data_offsets":[1,1]},
       "a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}
      """
    let file = try open(safetensors(header, data: 3))
    #expect(file.entries.map { $0.name } == ["a", "e", "b"])
    #expect(file.entries[1].range.isEmpty)
  }

  @Test func `fields that the format may grow are ignored`() throws {
    let file = try open(
      safetensors(
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":[{\"y\":null}]}}",
        data: 1))
    #expect(file.entries.count == 1)
  }

  @Test func `names that differ in Unicode form only are two tensors`() throws {
    let header = """
      {"\u{E9}":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
       "e\u{301}":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}
      """
    let file = try open(safetensors(header, data: 2))
    #expect(file.entries.count == 2)
    #expect(file.entries.map { $0.name.utf8.count } == [2, 3])
  }

  @Test func `a name that looks like a path is only a name`() throws {
    let file = try open(
      safetensors("{\"../../x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", data: 1))
    #expect(file.entries[0].name == "../../x")
  }

  @Test func `values that are not finite are data like any other`() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/m.safetensors"
    let writer = try SafetensorsWriter(
      path: path, tensors: [SafetensorsDeclaration(name: "a", type: .float32, shape: [3])])
    try writer.append([Float.nan, .infinity, -.infinity], to: "a")
    try writer.finish()
    let entry = try SafetensorsFile(path: path).entries[0]
    let row = WeightMap.row(0, of: vector("a", 3, asRow: true), in: entry)
    #expect(row[0].isNaN)
    #expect(row[1...] == [.infinity, -.infinity])
  }

  @Test func `weights of 8 bits and 64 bits are listed without a weight type`() throws {
    let file = try open(
      safetensors("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", data: 1))
    #expect(file.entries[0].dtype == nil)
    #expect(file.entries[0].storedType == "F8_E4M3")
  }

  @Test func `mapped data outlives the file's name`() throws {
    let folder = try TemporaryFolder()
    let header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}"
    let path = try folder.write("m.safetensors", safetensors(header) + [7, 9])
    let file = try SafetensorsFile(path: path)
    try FileManager.default.removeItem(atPath: path)
    #expect(file.entries[0].withBytes { Array($0) } == [7, 9])
  }
}

/// One stored vector, as a matrix of one row or of one column.
func vector(_ name: String, _ count: Int, asRow: Bool) -> TensorView {
  TensorView(
    tensor: name, storedShape: [count], rows: asRow ? 1 : count, columns: asRow ? count : 1,
    rowStride: 1)
}

@Suite struct `Paths that are no files` {
  private func refusal(_ folder: TemporaryFolder, _ path: String) -> String {
    message(in: folder) { _ = try SafetensorsFile(path: path) }
  }

  @Test func `a directory is refused`() throws {
    let folder = try TemporaryFolder()
    #expect(refusal(folder, folder.path) == "cannot read 'FOLDER': it is a directory")
  }

  @Test func `a pipe is refused without waiting for a writer`() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/pipe"
    #expect(mkfifo(path, 0o600) == 0)
    #expect(refusal(folder, path) == "cannot read 'FOLDER/pipe': it is not a regular file")
  }

  @Test func `a device is refused`() throws {
    let folder = try TemporaryFolder()
    #expect(refusal(folder, "/dev/zero") == "cannot read '/dev/zero': it is not a regular file")
  }

  @Test func `a broken link and a loop of links are refused`() throws {
    let folder = try TemporaryFolder()
    let files = FileManager.default
    try files.createSymbolicLink(
      atPath: folder.path + "/broken", withDestinationPath: folder.path + "/nothing")
    try files.createSymbolicLink(
      atPath: folder.path + "/loop", withDestinationPath: folder.path + "/loop")
    #expect(
      refusal(folder, folder.path + "/broken")
        == "cannot read 'FOLDER/broken': No such file or directory")
    #expect(refusal(folder, folder.path + "/loop").hasPrefix("cannot read 'FOLDER/loop': Too many"))
  }

  /// The superuser may read everything, so nothing can be shown there.
  @Test(.enabled(if: geteuid() != 0, "needs a user whom permissions bind"))
  func `a file without permission is refused`() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("secret", "x")
    #expect(chmod(path, 0) == 0)
    #expect(refusal(folder, path) == "cannot read 'FOLDER/secret': Permission denied")
  }

  @Test func `a path with NUL does not open the file before it`() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("m.safetensors", safetensors("{}"))
    #expect(
      refusal(folder, path + "\0.txt")
        == "cannot read 'FOLDER/m.safetensors\\u{0}.txt': the path contains a NUL character")
  }
}
