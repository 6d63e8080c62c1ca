import DejaVuFormats
import Foundation
import Testing

/// Archives that lie, and files that are no archive.
@Suite struct PickleZipTests {
  private static func zip64(_ values: UInt64...) -> [UInt8] {
    little(UInt16(1)) + little(UInt16(8 * values.count)) + values.flatMap { little($0) }
  }

  private static func entry(
    _ description: String, _ kind: Refused.Kind, _ saying: String,
    _ change: (inout Zip.Entry) -> Void
  ) -> Refused {
    Refused(description, kind, saying, Zip(changing: change).bytes)
  }

  private static func end(
    _ description: String, _ saying: String, _ change: (inout Zip) -> Void
  ) -> Refused {
    var zip = Zip { _ in }
    change(&zip)
    return Refused(description, .malformed, saying, zip.bytes)
  }

  static let lyingEntries: [Refused] = [
    entry("deflated", .unsupported, "'model/data/0' is compressed (deflate)") { $0.method = 8 },
    entry("another method", .unsupported, "(method 99)") { $0.method = 99 },
    entry("deflated by its local header", .unsupported, "(deflate)") { $0.localMethod = 8 },
    entry("encrypted", .unsupported, "encrypted") { $0.flags = 1 },
    entry("strongly encrypted", .unsupported, "encrypted") { $0.flags = 0x2041 },
    entry("another local name", .malformed, "disagree") {
      $0.localName = Array("model/data/1".utf8)
    },
    entry("a longer local name", .malformed, "disagree") { $0.localName = $0.name + [0x30] },
    entry("no local header", .malformed, "disagree") { $0.localSignature = 0 },
    entry("another local size", .malformed, "disagree") { $0.localSize = 15 },
    entry("a size left out without a descriptor", .malformed, "disagree") { $0.localSize = 0 },
    entry("a size past the archive", .malformed, "ends at byte") {
      ($0.size, $0.localSize) = (5000, 5000)
    },
    entry("two sizes", .malformed, "16 bytes take 12") { $0.compressedSize = 12 },
    entry("an offset past the archive", .malformed, "past the last") { $0.offset = 5000 },
    entry("an offset into another entry", .malformed, "disagree") { $0.offset = 7 },
    entry("64-bit sizes that are not there", .malformed, "zip64") { $0.size = .max },
    entry("64-bit sizes of 2^64 - 1", .malformed, "ends at byte") {
      $0.size = .max
      $0.flags = 8
      $0.localSize = 0
      $0.extra = zip64(.max, .max)
    },
    entry("64-bit sizes past the archive", .malformed, "ends at byte") {
      $0.size = .max
      $0.flags = 8
      $0.localSize = 0
      $0.extra = zip64(1 << 40, 1 << 40)
    },
    entry("a 64-bit offset past the archive", .malformed, "past the last") {
      $0.offset = .max
      $0.extra = zip64(1 << 63)
    },
    entry("a local 64-bit size that lies", .malformed, "disagree") {
      $0.localSize = .max
      $0.localExtra = zip64(17, 17)
    },
    entry("an extra field past its end", .malformed, "zip extra field") {
      $0.extra = little(UInt16(1)) + little(UInt16(500))
    },
    entry("an absolute name", .malformed, "impossible name") { $0.name = Array("/model/x".utf8) },
    entry("a climbing name", .malformed, "impossible name") { $0.name = Array("model/../x".utf8) },
    entry("a name with a backslash", .malformed, "impossible") { $0.name = Array("model\\x".utf8) },
    entry("no name", .malformed, "impossible name") { $0.name = [] },
    entry("a name with NUL", .malformed, "impossible name") { $0.name = [0x61, 0] },
    entry("a name that is not UTF-8", .malformed, "impossible name") { $0.name = [0xC3, 0x28] },
    entry("a name twice", .malformed, "two zip entries named 'model/data.pkl'") {
      $0.name = Array("model/data.pkl".utf8)
    },
  ]

  static let lyingEnds: [Refused] = [
    end("too many entries", "3 entries in") { $0.count = 3 },
    end("one entry more, in room enough", "ends at byte") {
      $0.entries[0].extra =
        little(UInt16(2)) + little(UInt16(60)) + [UInt8](repeating: 0, count: 60)
      $0.count = 3
    },
    end("too few entries", "goes on after 1") { $0.count = 1 },
    end("a directory that starts late", "should end") { $0.directoryOffset = 400 },
    end("a directory of 4 GiB", "should end") { $0.directorySize = .max },
    end("a directory cut short", "should end") { $0.directorySize = 60 },
    end("several disks", "not that of one") { $0.disk = 1 },
    end("a comment", "zip end record") { $0.comment = [1, 2, 3] },
    end("a comment that is an end record", "not that of one") {
      $0.comment = Array($0.bytes.suffix(22))
      $0.comment[20] = 1
    },
    end("2^64 - 1 entries", "promises") {
      $0.count = .max
      $0.large = { (.max, $1, $2) }
    },
    end("2^20 + 1 entries", "promises") {
      $0.count = .max
      $0.large = { (1 << 20 + 1, $1, $2) }
    },
    end("a 64-bit size that lies", "layout") { $0.large = { ($0, $1 - 1, $2) } },
    end("a 64-bit size of 2^64 - 1", "layout") { $0.large = { ($0, .max, $2) } },
    end("a 64-bit offset that lies", "layout") { $0.large = { ($0, $1, $2 + 1) } },
    end("a 64-bit offset and size that wrap", "layout") {
      $0.large = { ($0, 0 &- $1, $2 &+ $1 &+ $1) }
    },
    end("two end records that differ", "contradict") {
      $0.directorySize = 7
      $0.large = { ($0, $1, $2) }
    },
  ]

  static let otherFiles: [Refused] = [
    .init("an empty file", .malformed, "it is empty", []),
    .init("noise", .malformed, "does not start like", [1, 2, 3, 4]),
    .init("the first bytes of an archive", .malformed, "cut short", [0x50, 0x4B, 3, 4]),
    .init(
      "a git-lfs pointer", .unsupported, "git lfs pull",
      Array("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 251\n".utf8)),
    .init("an error page", .unsupported, "it is text", Array("<!doctype html><p>404 ü</p>".utf8)),
    .init(
      "a tar archive", .unsupported, "tar archive",
      [UInt8](repeating: 0, count: 257) + Array("ustar\u{0}00".utf8)),
    .init("a bare pickle", .unsupported, "bare pickle", Pickle.file(Pickle.none)),
    .init(
      "a safetensors file", .unsupported, "looks like a safetensors file",
      little(UInt64(2)) + Array("{}".utf8)),
    .init("an archive of something else", .unsupported, "without 'model/data.pkl'", otherArchive),
    .init("a big-endian checkpoint", .unsupported, "not little-endian", bigEndian),
    .init("a nested entry", .malformed, "inside another entry", nested),
    .init("bytes before the archive", .malformed, "not at the start", shifted),
  ]

  private static var otherArchive: [UInt8] {
    var zip = Zip { _ in }
    zip.entries[0].name = Array("model/weights.npy".utf8)
    return zip.bytes
  }

  private static var bigEndian: [UInt8] {
    var zip = Zip { _ in }
    zip.entries.append(.init("model/byteorder", Array("big".utf8)))
    return zip.bytes
  }

  /// An entry that lies in the data of another.
  private static var nested: [UInt8] {
    let inner = Array(Zip(pickle: []).bytes.prefix(44))
    var zip = Zip(pickle: [], storage: inner)
    zip.entries[0] = .init("model/x", inner)
    zip.entries[1] = .init("model/data.pkl", [])
    zip.entries[1].offset = UInt32(30 + 7)
    return zip.bytes
  }

  /// The archive's first entry is in no directory.
  private static var shifted: [UInt8] {
    var zip = Zip { _ in }
    let hidden = zip.entries[1]
    zip.entries.insert(hidden, at: 0)
    let whole = zip.bytes
    let header = 46 + hidden.name.count
    let start = whole.count - 22 - 2 * header - 46 - zip.entries[1].name.count
    var bytes = Array(whole[..<start] + whole[(start + header)...])
    bytes.replaceSubrange(
      (bytes.count - 14)...,
      with: little(UInt16(2)) + little(UInt16(2))
        + little(UInt32(whole.count - 22 - start - header)) + little(UInt32(start)) + [0, 0])
    return bytes
  }

  @Test(arguments: lyingEntries + lyingEnds + otherFiles)
  func `a file that is not a plain archive is refused for what it is`(file: Refused) throws {
    let error = try #require(try refusal(of: file.bytes))
    #expect(error.kind == file.kind, "\(error)")
    #expect(error.description.contains(file.saying), "\(error)")
  }

  @Test func `an archive in 64-bit words loads`() throws {
    var zip = Zip {
      $0.size = .max
      $0.offset = .max
      $0.localSize = .max
      $0.localExtra = Self.zip64(16, 16)
    }
    let offset = UInt64(30 + zip.entries[0].name.count + zip.entries[0].data.count)
    zip.entries[1].extra =
      little(UInt16(0x4246)) + little(UInt16(1)) + [0x5A]
      + Self.zip64(16, 16, offset)
    zip.count = .max
    zip.directorySize = .max
    zip.directoryOffset = .max
    zip.large = { ($0, $1, $2) }
    let file = try TemporaryFile(zip.bytes)
    let entries = try PickleCheckpointFile.entries(path: file.path)
    #expect(entries.map(\.shape) == [[4]])
    #expect(entries.first?.copiedBytes == [UInt8](repeating: 1, count: 16))
  }

  @Test func `an archive cut anywhere is damaged`() throws {
    let whole = Zip { _ in }.bytes
    #expect(try refusal(of: whole) == nil)
    for count in 4..<whole.count {
      let error = try refusal(of: Array(whole.prefix(count)))
      #expect(error?.kind == .malformed, "\(count) bytes: \(String(describing: error))")
    }
  }

  @Test func `what is not a regular file is refused at once`() throws {
    let folder = NSTemporaryDirectory()
    let fifo = folder + "dejavu-\(UUID().uuidString).fifo"
    let link = folder + "dejavu-\(UUID().uuidString).link"
    mkfifo(fifo, 0o600)
    symlink(link, link)
    defer {
      unlink(fifo)
      unlink(link)
    }
    for path in [folder, fifo, link, "/dev/zero", folder + "dejavu-missing.bin"] {
      #expect(refusal(ofFileAt: path)?.kind == .unreadable, "\(path)")
    }
  }
}
