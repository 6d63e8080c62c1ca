import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuEvaluation
import DejaVuModels

/// `dejavu calibrate`: finds a plan for a greatest loss.
struct Calibrate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Find which rows each layer needs, for a greatest loss.",
    discussion: """
      Measures on a text, for every layer, what leaving neurons out costs and what it saves, and \
      stores the plan with the least bytes for the loss that is allowed, under its name, in \
      predictors.safetensors beside the model. Every figure comes from running the model with the \
      plan's own choosers acting at every position. Use a text that the model is not judged on \
      afterwards.

        dejavu calibrate --text calibration.txt --max-perplexity-increase 1%
        dejavu generate --sparsity 1% "Once upon a time"
      """)

  @OptionGroup var model: ModelOptions

  @Option(help: ArgumentHelp("Text to calibrate on; - reads a pipe.", valueName: "file"))
  var text: String

  @Option(
    help: ArgumentHelp(
      "Greatest increase of perplexity, as 1% or 0.01 (default: 1%).", valueName: "share"),
    transform: Calibrate.share)
  var maxPerplexityIncrease = 0.01

  @Option(
    help: ArgumentHelp("Name of the plan (default: the increase, as in 1%).", valueName: "name"))
  var name: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Windows of 512 tokens to measure on (2 to 4096; default: 16).", valueName: "count"),
    transform: Numbers.whole(2...4096))
  var windows = 16

  @Option(help: ArgumentHelp("File to store the plan in.", valueName: "path"))
  var out: String?

  @Option(
    name: [.short, .long], parsing: .unconditional,
    help: ArgumentHelp(
      "Threads that compute (1 to 1024; default: one per core).", valueName: "count"),
    transform: Numbers.whole(1...1024))
  var threads: Int?

  @OptionGroup(title: "Output") var output: OutputOptions

  func run() throws {
    let folder = try model.folder()
    let bytes = try InputFile.read(text)
    let threads = threads ?? LanguageModel.defaultThreads
    let model = try LanguageModel(path: folder, backend: .cpu(CPUOptions(threads: threads)))
    var options = Calibrator.Options()
    options.perplexityIncrease = maxPerplexityIncrease
    options.windows = windows
    options.name = name ?? Self.percent(maxPerplexityIncrease)
    let calibration = CalibrationText(
      bytes: bytes, model: model, count: windows, length: options.length)
    guard calibration.windows.count >= 2 else {
      throw EvaluationError.nothingToScore(tokens: calibration.windows.count * options.length)
    }
    let bar = ProgressBar("calibrating", isShown: !output.quiet, unit: .steps)
    let calibrator = Calibrator(model: model, options: options) { step in
      show(step, bar, layers: model.architecture.layers, bits: options.bits.count)
    }
    guard let calibrator else { return }
    let (sparsity, damage) = try calibrator.run(text: calibration)
    bar.finish()
    let path = out ?? folder + "/" + PredictorFile.fileName
    try SparsityStore.save(sparsity.plan, model: model.loaded, path: path)
    let report = PlanReport(plan: sparsity.plan, damage: damage, path: path, folder: folder)
    try StandardOutput.write((output.json ? report.json.description : report.text) + "\n")
  }

  private func show(_ step: CalibrationStep, _ bar: ProgressBar, layers: Int, bits: Int) {
    switch step {
    case .dense: break
    case .layer(let layer, let count, let width):
      let pass = width == 4 ? 0 : 1
      bar.update(done: pass * count + layer + 1, of: layers * bits + 5)
    case .plan(let round, let share, let increase, _):
      bar.update(done: layers * bits + round + 1, of: layers * bits + 5)
      guard !output.quiet else { return }
      let (bytes, loss) = (Quantity.decimals(100 * share, 1), Quantity.decimals(100 * increase, 2))
      Terminal.error.writeLine("plan \(round + 1): \(bytes) % of the MLP's bytes, loss +\(loss) %")
    }
  }

  static func percent(_ share: Double) -> String {
    let value = share * 100
    return (value == value.rounded() ? String(Int(value)) : String(value)) + "%"
  }

  @Sendable
  static func share(_ text: String) throws -> Double {
    let isPercent = text.hasSuffix("%")
    guard let value = Double(isPercent ? String(text.dropLast()) : text), value.isFinite else {
      throw ValidationError("it must be a share such as 1% or 0.01")
    }
    let share = isPercent ? value / 100 : value
    guard share > 0, share <= 0.5 else {
      throw ValidationError("it must be above 0 and at most 50%")
    }
    return share
  }
}
