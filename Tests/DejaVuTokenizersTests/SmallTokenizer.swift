/// A `tokenizer.json` in pieces, so that a test can replace one of them.
///
/// Its vocabulary is the 256 bytes in order of the alphabet, then "he", "ll", "hell" and "hello".
struct SmallTokenizer {
  var added = #"[{"id": 260, "content": "<end>", "special": true}]"#
  var normalizer = "null"
  var preTokenizer = #"{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}"#
  var postProcessor = "null"
  var decoder = #"{"type": "ByteLevel"}"#
  var vocabulary = bytes + #", "he": 256, "ll": 257, "hell": 258, "hello": 259"#
  var merges = #"["h e", "l l", "he ll", "hell o"]"#
  var modelOptions = #""type": "BPE""#

  var json: String {
    """
    {"added_tokens": \(added), "normalizer": \(normalizer), "pre_tokenizer": \(preTokenizer),
     "post_processor": \(postProcessor), "decoder": \(decoder),
     "model": {\(modelOptions), "vocab": {\(vocabulary)}, "merges": \(merges)}}
    """
  }

  /// `"!": 0, …`: the characters that spell single bytes, 0 to 255 in order of their codes.
  static let bytes: String = {
    let codes = Array(0x21...0x7E) + Array(0xA1...0xAC) + Array(0xAE...0x143)
    return codes.enumerated().map { id, code in
      let scalar = Unicode.Scalar(code).map { String(Character($0)) } ?? ""
      let key = scalar == "\"" || scalar == "\\" ? "\\" + scalar : scalar
      return "\"\(key)\": \(id)"
    }.joined(separator: ", ")
  }()
}
