package import DejaVu
import DejaVuCore

/// Windows of one text, or of two: some to measure on, others to learn from.
package struct WindowSplit: Sendable {
  package let measured: [[TokenID]]
  package let lesson: [[TokenID]]

  /// Windows that are cut already, each with its first token.
  package init(measured: [[TokenID]], lesson: [[TokenID]]) {
    (self.measured, self.lesson) = (measured, lesson)
  }

  /// - Parameters:
  ///   - text: what is measured on.
  ///   - calibration: what is learned from; nil takes other windows of `text`.
  ///   - model: whose tokenizer cuts both.
  ///   - options: how many windows of which length; a model of short context gets shorter ones.
  /// - Throws: ``EvaluationError/shorterThanWindow(tokens:length:)`` for a text that has not even one
  ///   window for each purpose.
  package init(
    text: EvaluationText, calibration: EvaluationText?, model: LanguageModel,
    options: ExistenceOptions
  ) throws(EvaluationError) {
    let length = min(options.length, model.architecture.context)
    let own = calibration == nil ? options.lessonWindows : 0
    let cut = CalibrationText(
      text: text, model: model, count: options.windows + own, length: length)
    let needed = calibration == nil ? 2 : 1
    guard cut.windows.count >= needed else {
      throw .shorterThanWindow(tokens: cut.tokens, length: needed * length)
    }
    guard let calibration else {
      (measured, lesson) = Self.split(cut.windows, measured: options.windows)
      return
    }
    measured = cut.windows
    let learned = CalibrationText(
      text: calibration, model: model, count: options.lessonWindows, length: length)
    guard !learned.windows.isEmpty else {
      throw .shorterThanWindow(tokens: learned.tokens, length: length)
    }
    lesson = learned.windows
  }

  /// Takes windows to measure on evenly out of all; at least one is left to learn from.
  static func split(
    _ windows: [[TokenID]], measured wanted: Int
  ) -> (measured: [[TokenID]], lesson: [[TokenID]]) {
    let count = max(1, min(wanted, windows.count / 2))
    let taken = Set((0..<count).map { $0 * windows.count / count })
    return (
      windows.indices.filter { taken.contains($0) }.map { windows[$0] },
      windows.indices.filter { !taken.contains($0) }.map { windows[$0] }
    )
  }
}
