import DejaVuFormats

/// What stands between a model and its quantized copy.
@nonexhaustive
public enum QuantizationError: Error, Hashable, Sendable, CustomStringConvertible {
  /// A weight is not finite, or beyond what a float16 scale can reach.
  case weightOutOfRange(tensor: String, row: Int, value: String)
  /// The inputs of a matrix, over the calibration text, do not determine its rounding.
  case degenerateInputs(matrix: String, tokens: Int)
  /// A method needs a text and none was given.
  case noText(method: String)
  /// The text is shorter than a window.
  case tooLittleText(tokens: Int, needed: Int)
  /// The model's files are packed, or in codes, already.
  case quantizedAlready(folder: String)
  /// The checkpoint holds codes as GPTQ or AWQ publish them.
  case publishedCodes(folder: String, method: String)

  /// One sentence with both sides that ends in what to do.
  public var description: String {
    switch self {
    case .weightOutOfRange(let tensor, let row, let value):
      "tensor '\(escaped(tensor))' holds \(value) in row \(row); codes need finite weights of at "
        + "most 65504, so the checkpoint is damaged or was trained to diverge"
    case .degenerateInputs(let matrix, let tokens):
      "what \(matrix) reads over \(tokens) tokens of the text is not finite or has no spread; "
        + "give a longer text or a greater --damping"
    case .noText(let method): "the method '\(method)' learns from a text; name one with --text"
    case .tooLittleText(let tokens, let needed):
      "the text has \(tokens) tokens but one window takes \(needed); give a longer text"
    case .quantizedAlready(let folder):
      "'\(escaped(folder))' is packed already; quantize the checkpoint it came from"
    case .publishedCodes(let folder, let method):
      "'\(escaped(folder))' holds codes of \(escaped(method)), which run as they are and which "
        + "'dejavu pack' keeps as they are; quantize the full-precision checkpoint"
    }
  }
}
