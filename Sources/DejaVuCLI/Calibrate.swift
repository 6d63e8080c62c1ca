import ArgumentParser
import DejaVu
import DejaVuEvaluation
import DejaVuModels
import Foundation

/// Temporary driver of the calibrator.
struct Calibrate: ParsableCommand {
  @Option var model: String
  @Option var text: String
  @Option var windows = 24
  @Option var increase = 0.01

  func run() throws {
    let model = try LanguageModel(path: model)
    var options = Calibrator.Options()
    options.windows = windows
    options.perplexityIncrease = increase
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: text)))
    let calibration = CalibrationText(
      bytes: bytes, model: model, count: options.windows, length: options.length)
    guard
      let calibrator = Calibrator(
        model: model, options: options, report: { print($0, to: &Self.standardError) })
    else { return }
    let (sparsity, damage) = try calibrator.run(text: calibration)
    print(sparsity.plan, damage)
  }

  nonisolated(unsafe) static var standardError = Stderr()
  struct Stderr: TextOutputStream {
    mutating func write(_ string: String) { FileHandle.standardError.write(Data(string.utf8)) }
  }
}
