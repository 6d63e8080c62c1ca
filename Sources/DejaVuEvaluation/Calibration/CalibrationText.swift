package import DejaVu
import DejaVuCore

/// Windows of calibration text, spread evenly.
package struct CalibrationText: Sendable {
  package let windows: [[TokenID]]
  /// Tokens of the whole text.
  package let tokens: Int

  /// Windows that are cut already, each with its first token.
  package init(windows: [[TokenID]]) {
    self.windows = windows
    tokens = windows.reduce(0) { $0 + $1.count }
  }

  /// - Parameters:
  ///   - text: its documents are read as one.
  ///   - model: whose tokenizer cuts the text.
  ///   - count: windows wanted; fewer come out of a short text.
  ///   - length: tokens of a window, a first token included.
  package init(text: EvaluationText, model: LanguageModel, count: Int, length: Int) {
    let tokens = text.tokens(model.tokenizer, separatesDocuments: false).flatMap { $0 }
    self.tokens = tokens.count
    let first = model.tokenizer.bosToken ?? 0
    let body = length - 1
    let possible = tokens.count / body
    let taken = min(count, possible)
    windows = (0..<taken).map { index in
      let start = index * possible / max(taken, 1) * body
      return [first] + tokens[start..<(start + body)]
    }
  }
}
