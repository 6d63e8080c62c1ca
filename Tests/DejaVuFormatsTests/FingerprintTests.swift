import DejaVuFormats
import Testing

@Suite struct `Fingerprints` {
  @Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
    (
      String(repeating: "a", count: 1_000_000),
      "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    ),
  ])
  func `digests are those of the standard`(text: String, expected: String) {
    var digest = SHA256()
    digest.update(text.utf8)
    #expect(digest.hexDigest() == expected)
  }

  @Test func `the digest does not depend on how the bytes come`() {
    let bytes = (0..<200).map { UInt8($0) }
    for cut in [0, 1, 55, 56, 63, 64, 65, 119, 128, 200] {
      var whole = SHA256()
      whole.update(bytes)
      var parts = SHA256()
      parts.update(bytes[..<cut])
      parts.update(bytes[cut...])
      #expect(whole.hexDigest() == parts.hexDigest())
    }
  }

  @Test func `every golden checkpoint has its own fingerprint`() throws {
    let prints = try Golden.names.map { try Checkpoint.open(folder: Golden.folder($0)).fingerprint }
    #expect(Set(prints).count == Golden.names.count)
    #expect(prints.allSatisfy { $0.utf8.count == 64 })
  }

  @Test func `it changes with a choice, a name, a type, a shape and a weight`() throws {
    let folder = try TemporaryFolder()
    func print(
      _ name: String, _ type: StoredType, _ shape: [Int], first: UInt8 = 1, last: UInt8 = 1,
      context: Int = 8
    ) throws -> String {
      let path = folder.path + "/m.safetensors"
      let writer = try SafetensorsWriter(
        path: path, tensors: [SafetensorsDeclaration(name: name, type: type, shape: shape)])
      let count = type.byteCount(shape: shape) ?? 0
      try writer.append(
        [first] + [UInt8](repeating: 0, count: count - 2) + [last], to: name)
      try writer.finish()
      let architecture = try parse(
        ConfigText.llama + ",\"max_position_embeddings\":\(context)"
      ).architecture
      return Fingerprint.of(architecture, tensors: try SafetensorsFile(path: path).entries)
    }
    let prints = [
      try print("a", .float16, [2, 50_000]), try print("b", .float16, [2, 50_000]),
      try print("a", .bfloat16, [2, 50_000]), try print("a", .float16, [50_000, 2]),
      try print("a", .float16, [2, 50_000], first: 2),
      try print("a", .float16, [2, 50_000], last: 2),
      try print("a", .float16, [2, 50_000], context: 9),
    ]
    #expect(Set(prints).count == prints.count)
    #expect(try print("a", .float16, [2, 50_000]) == prints[0])
  }
}
