import DejaVuFormats
import Testing

/// A file that must be refused, and the reason that the message gives.
struct Malformed: CustomTestStringConvertible, Sendable {
  let testDescription: String
  let bytes: [UInt8]
  /// What follows "'FOLDER/m.safetensors' is damaged: ".
  var damage: String?
  /// The tensor, and what follows "is invalid: ".
  var tensor: (name: String, reason: String)?

  init(_ what: String, _ bytes: [UInt8], _ damage: String) {
    testDescription = what
    self.bytes = bytes
    self.damage = damage
  }

  init(_ what: String, _ bytes: [UInt8], tensor: String = "a", _ reason: String) {
    testDescription = what
    self.bytes = bytes
    self.tensor = (tensor, reason)
  }

  var message: String {
    if let tensor {
      return "tensor '\(tensor.name)' in 'FOLDER/m.safetensors' is invalid: \(tensor.reason); "
        + "download or convert it again"
    }
    return "'FOLDER/m.safetensors' is damaged: \(damage ?? ""); download or convert it again"
  }
}

/// A header with one tensor `a` made of these fields.
private func entry(_ fields: String, data: Int = 4) -> [UInt8] {
  safetensors("{\"a\":{\(fields)}}", data: data)
}

/// A header with one F32 tensor `a` of this shape and these offsets.
private func shaped(_ shape: String, _ offsets: String = "0,4", data: Int = 4) -> [UInt8] {
  entry("\"dtype\":\"F32\",\"shape\":\(shape),\"data_offsets\":[\(offsets)]", data: data)
}

/// A header with F32 tensors `a`, `b`, … of one element each at these offsets.
private func placed(_ starts: [Int], data: Int) -> [UInt8] {
  let members = zip("abcdef", starts).map { name, start in
    "\"\(name)\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[\(start),\(start + 4)]}"
  }
  return safetensors("{\(members.joined(separator: ","))}", data: data)
}

private let plain = "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"

private let structure: [Malformed] = [
  Malformed(
    "0 bytes", [], "0 bytes are shorter than the header length field of 8 bytes"),
  Malformed(
    "7 bytes", [UInt8](repeating: 0, count: 7),
    "7 bytes are shorter than the header length field of 8 bytes"),
  Malformed(
    "header length 0", length(0), "header: the text ends where a value should start at byte 8"),
  Malformed(
    "header length 2^63", length(1 << 63),
    "header length 9223372036854775808 is above the limit of 100000000 bytes"),
  Malformed(
    "header length 2^64-1", length(.max),
    "header length 18446744073709551615 is above the limit of 100000000 bytes"),
  Malformed(
    "header length one above the limit", length(100_000_001),
    "header length 100000001 is above the limit of 100000000 bytes"),
  Malformed(
    "header one byte longer than the file", length(3) + Array("{}".utf8),
    "header of 3 bytes passes the end of the file at byte 10"),
  Malformed(
    "header cut in the middle", safetensors("{\"a\":{\"dtype\":\"F3"),
    "header: string without an end at byte 22"),
  Malformed("NUL padding", safetensors("{}\0\0"), "header: text after the value at byte 10"),
  Malformed(
    "text after the object", safetensors("{} x"), "header: text after the value at byte 11"),
  Malformed("two objects", safetensors("{}{}"), "header: text after the value at byte 10"),
  Malformed("an array", safetensors("[]"), "header is an array, not an object"),
  Malformed("null", safetensors("null"), "header is null, not an object"),
  Malformed(
    "invalid UTF-8", safetensors([0x7B, 0x22, 0xFF, 0x22]), "header: ill-formed UTF-8 at byte 10"),
  Malformed(
    "overlong UTF-8", safetensors([0x7B, 0x22, 0xC0, 0xAF, 0x22]),
    "header: ill-formed UTF-8 at byte 10"),
  Malformed(
    "a lone surrogate", safetensors("{\"\\ud800\":1}"), "header: lone surrogate at byte 10"),
  Malformed(
    "UTF-16", safetensors([0x7B, 0, 0x7D, 0]), "header: expected a key in double quotes at byte 9"),
  Malformed(
    "a byte-order mark", safetensors([0xEF, 0xBB, 0xBF, 0x7B, 0x7D]),
    "header: unexpected byte 0xef at byte 8"),
  Malformed(
    "a trailing comma", safetensors("{\(plain),}", data: 4),
    "header: expected a key in double quotes at byte 62"),
  Malformed("NaN", safetensors("{\"a\":NaN}"), "header: unexpected byte 0x4e at byte 13"),
  Malformed(
    "a comment", safetensors("/**/{}"), "header: unexpected byte 0x2f at byte 8"),
  Malformed(
    "single quotes", safetensors("{'a':1}"), "header: expected a key in double quotes at byte 9"),
  Malformed(
    "100,000 open brackets", safetensors(String(repeating: "[", count: 100_000)),
    "header: nested deeper than 16 at byte 24"),
  Malformed(
    "one name twice", safetensors("{\(plain),\(plain)}", data: 4),
    "header: duplicate key 'a' at byte 62"),
  Malformed(
    "one name twice, once escaped",
    safetensors("{\(plain),\"\\u0061\":1}", data: 4), "header: duplicate key 'a' at byte 62"),
  Malformed(
    "trailing bytes", shaped("[1]", data: 5), "1 bytes follow the last tensor's data"),
  Malformed(
    "data without tensors", safetensors("{}", data: 3), "3 bytes follow the last tensor's data"),
  Malformed(
    "metadata that is no object", safetensors("{\"__metadata__\":[]}"),
    "__metadata__ is an array, not an object"),
  Malformed(
    "metadata with a number", safetensors("{\"__metadata__\":{\"k\":1}}"),
    "__metadata__ 'k' is a number, not a string"),
]

private let entries: [Malformed] = [
  Malformed(
    "an entry that is a number", safetensors("{\"a\":1}"), tensor: "a",
    "its entry is a number, not an object"),
  Malformed(
    "no dtype", entry("\"shape\":[1],\"data_offsets\":[0,4]"), tensor: "a", "'dtype' is missing"),
  Malformed(
    "no shape", entry("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), tensor: "a", "'shape' is missing"
  ),
  Malformed(
    "no offsets", entry("\"dtype\":\"F32\",\"shape\":[1]"), tensor: "a", "'data_offsets' is missing"
  ),
  Malformed(
    "a dtype that is null", entry("\"dtype\":null,\"shape\":[1],\"data_offsets\":[0,4]"),
    tensor: "a", "'dtype' is null, not a string"),
  Malformed(
    "an unknown dtype", entry("\"dtype\":\"F128\",\"shape\":[1],\"data_offsets\":[0,4]"),
    tensor: "a", "element type 'F128' is unknown"),
  Malformed(
    "a dtype that moves the cursor",
    entry("\"dtype\":\"\\u001b[2J\",\"shape\":[1],\"data_offsets\":[0,4]"), tensor: "a",
    "element type '\\u{1b}[2J' is unknown"),
  Malformed(
    "a shape that is a number", shaped("4"), tensor: "a", "'shape' is a number, not an array"),
  Malformed(
    "a dimension of -1", shaped("[-1]"), tensor: "a",
    "'shape' contains -1, not an integer from 0 to 2^48"),
  Malformed(
    "a dimension of -0", shaped("[-0]"), tensor: "a",
    "'shape' contains -0, not an integer from 0 to 2^48"),
  Malformed(
    "a dimension of 1.0", shaped("[1.0]"), tensor: "a",
    "'shape' contains 1.0, not an integer from 0 to 2^48"),
  Malformed(
    "a dimension of 1e0", shaped("[1e0]"), tensor: "a",
    "'shape' contains 1e0, not an integer from 0 to 2^48"),
  Malformed(
    "a quoted dimension", shaped("[\"4\"]"), tensor: "a", "'shape' contains a string, not a number"),
  Malformed(
    "a dimension of true", shaped("[true]"), tensor: "a",
    "'shape' contains a boolean, not a number"),
  Malformed(
    "dimensions [2, 2^64-2]", shaped("[2,18446744073709551614]"), tensor: "a",
    "'shape' contains 18446744073709551614, not an integer from 0 to 2^48"),
  Malformed(
    "dimensions [2^32, 2^32]", shaped("[4294967296,4294967296]"), tensor: "a",
    "[4294967296, 4294967296] elements of F32 overflow or do not fill whole bytes"),
  Malformed(
    "nine dimensions", shaped("[1,1,1,1,1,1,1,1,1]"), tensor: "a",
    "it has 9 dimensions; at most 8 are allowed"),
  Malformed(
    "one offset", shaped("[1]", "0"), tensor: "a", "'data_offsets' holds 1 numbers, not 2"),
  Malformed(
    "three offsets", shaped("[1]", "0,4,8"), tensor: "a", "'data_offsets' holds 3 numbers, not 2"),
  Malformed(
    "a negative offset", shaped("[1]", "-4,0"), tensor: "a",
    "'data_offsets' contains -4, not an integer from 0 to 2^48"),
  Malformed(
    "reversed offsets", shaped("[1]", "4,0"), tensor: "a",
    "its data ends at 0, before it starts at 4"),
  Malformed(
    "offsets past 2^48", shaped("[1]", "0,281474976710660"), tensor: "a",
    "'data_offsets' contains 281474976710660, not an integer from 0 to 2^48"),
  Malformed(
    "a span shorter than the shape", shaped("[2]"), tensor: "a",
    "its data is 4 bytes but [2] of F32 takes 8"),
  Malformed(
    "three elements of F4", entry("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]", data: 2),
    tensor: "a", "[3] elements of F4 overflow or do not fill whole bytes"),
  Malformed(
    "a file one byte short", shaped("[1]", data: 3), tensor: "a",
    "its data ends at 4 but the file holds 3 bytes of data"),
  Malformed(
    "an overlap", placed([0, 2], data: 6), tensor: "b",
    "it overlaps the tensor before it: data starts at 2 where 4 was expected"),
  Malformed(
    "two names for one range", placed([0, 0], data: 4), tensor: "b",
    "it overlaps the tensor before it: data starts at 0 where 4 was expected"),
  Malformed(
    "a hole", placed([0, 8], data: 12), tensor: "b",
    "it leaves a hole before it: data starts at 8 where 4 was expected"),
  Malformed(
    "a hole at the start", placed([4], data: 8), tensor: "a",
    "it leaves a hole before it: data starts at 4 where 0 was expected"),
  Malformed(
    "a name with NUL", safetensors("{\"a\\u0000b\":1}"), tensor: "a\\u{0}b",
    "its name contains control characters"),
  Malformed(
    "a name with an escape sequence", safetensors("{\"\\u001b[31m\":1}"), tensor: "\\u{1b}[31m",
    "its name contains control characters"),
  Malformed(
    "a name of one megabyte", safetensors("{\"\(String(repeating: "n", count: 1 << 20))\":1}"),
    tensor: String(repeating: "n", count: 256) + "…",
    "its name has 1048576 bytes; at most 1024 are allowed"),
]

@Suite struct `Malformed safetensors` {
  @Test(arguments: structure + entries)
  func `a malformed file is refused with its own message`(file: Malformed) throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("m.safetensors", file.bytes)
    #expect(message(in: folder) { _ = try SafetensorsFile(path: path) } == file.message)
  }

  @Test func `a header with more tensors than any model is refused`() throws {
    let folder = try TemporaryFolder()
    let members = (0...SafetensorsHeader.maximumTensors).map {
      "\"\($0)\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}"
    }
    let path = try folder.write(
      "m.safetensors", safetensors("{\(members.joined(separator: ","))}"))
    #expect(
      message(in: folder) { _ = try SafetensorsFile(path: path) }
        == "'FOLDER/m.safetensors' is damaged: more than 65536 tensors; "
        + "download or convert it again")
  }

  @Test func `a header full of values stops at a bound`() throws {
    let folder = try TemporaryFolder()
    let values = String(repeating: "0,", count: 2_000_000)
    let path = try folder.write(
      "m.safetensors", safetensors("{\"a\":[\(values)0]}"))
    let text = message(in: folder) { _ = try SafetensorsFile(path: path) }
    #expect(text.contains("header: more than 786432 values at byte"))
  }

  @Test func `every prefix of a valid file is refused`() throws {
    let folder = try TemporaryFolder()
    let whole = placed([0, 4, 8], data: 12)
    for count in 0..<whole.count {
      let path = try folder.write("m.safetensors", Array(whole.prefix(count)))
      #expect(throws: CheckpointError.self) { try SafetensorsFile(path: path) }
    }
  }

  @Test func `no single changed byte of a header makes a reader trap`() throws {
    let folder = try TemporaryFolder()
    let whole = placed([0, 4], data: 8)
    for index in 0..<whole.count - 8 {
      for byte: UInt8 in [0, 0x20, 0x22, 0x2D, 0x2E, 0x30, 0x39, 0x5B, 0x7D, 0x80, 0xFF] {
        var changed = whole
        changed[index] = byte
        let path = try folder.write("m.safetensors", changed)
        guard let file = try? SafetensorsFile(path: path) else { continue }
        #expect(file.entries.allSatisfy { $0.range.upperBound <= changed.count })
      }
    }
  }
}
