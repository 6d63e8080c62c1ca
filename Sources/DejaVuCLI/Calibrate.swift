import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuEvaluation
import DejaVuModels

/// `dejavu calibrate`: finds a plan for a target.
struct Calibrate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Find which rows each layer needs, for a greatest loss or a share of rows.",
    discussion: """
      Measures on a text, layer by layer, what leaving rows out costs and what it saves, whoever \
      chooses them: shadows of the up rows in a few bits, the high half of their own codes where \
      weights are quantized, and the predictors of 'dejavu train' where predictors.safetensors has \
      them. The plan is confirmed by decoding and stored there under its \
      name, beside other plans. Use a text that the model is not judged on afterwards.

        dejavu calibrate --text calibration.txt --max-perplexity-increase 1%
        dejavu generate --sparsity 1% "Once upon a time"
        dejavu calibrate --text calibration.txt --density 0.5
        dejavu calibrate --text calibration.txt --density 0.7
        dejavu generate --density 0.6 "Once upon a time"
      """)

  @OptionGroup var model: ModelOptions

  @Option(help: ArgumentHelp("Text to calibrate on; - reads a pipe.", valueName: "file"))
  var text: String

  @OptionGroup(title: "Plan") var plan: CalibrationArguments

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Windows of 512 tokens to measure on (2 to 4096; default: 16).", valueName: "count"),
    transform: Numbers.whole(2...4096))
  var windows = 16

  @Option(help: ArgumentHelp("File to store the plan in.", valueName: "path"))
  var out: String?

  @OptionGroup var threads: ThreadOptions

  @OptionGroup(title: "Output") var output: OutputOptions

  func run() throws {
    let folder = try model.folder()
    let documents = try EvaluationText.contents(of: text)
    let threads = threads.count
    let model = try LanguageModel(path: folder, backend: .cpu(CPUOptions(threads: threads)))
    let path = out ?? folder + "/" + PredictorFile.fileName
    let predictors = try SparsityStore.predictors(in: path, of: model.loaded)
    let calibration = try calibrate(model, documents, predictors)
    try SparsityStore.save(calibration.sparsity.plan, model: model.loaded, path: path)
    let report = PlanReport(
      calibration: calibration, path: path, folder: folder, fingerprint: model.loaded.fingerprint)
    try StandardOutput.write((output.json ? report.json.description : report.text) + "\n")
  }

  private func calibrate(
    _ model: LanguageModel, _ documents: EvaluationText,
    _ predictors: [PredictorSite: ChooserWeights]
  ) throws -> Calibration {
    var options = Calibrator.Options()
    (options.target, options.rule, options.bits) = (plan.target, plan.rule, plan.bits)
    (options.windows, options.name) = (windows, plan.planName)
    let text = CalibrationText(
      text: documents, model: model, count: windows, length: options.length)
    guard text.windows.count >= 2 else {
      throw EvaluationError.nothingToScore(tokens: text.windows.count * options.length)
    }
    let bar = ProgressBar("calibrating", isShown: !output.quiet, unit: .steps)
    defer { bar.finish() }
    let calibrator = Calibrator(model: model, predictors: predictors, options: options) {
      show($0, bar, layers: model.architecture.layers)
    }
    guard let calibrator else { throw PlanError.noBackend }
    return try calibrator.run(text: text)
  }

  private func show(_ step: CalibrationStep, _ bar: ProgressBar, layers: Int) {
    let total = layers + 10
    switch step {
    case .dense: break
    case .layer(let layer, _): bar.update(done: layer + 1, of: total)
    case .plan(let round, let density, let increase, _):
      bar.update(done: layers + round + 1, of: total)
      guard !output.quiet else { return }
      let (rows, loss) = (Quantity.decimals(100 * density, 1), Quantity.decimals(100 * increase, 2))
      let sign = increase < 0 ? "" : "+"
      Terminal.error.writeLine("plan \(round + 1): \(rows) % of rows, loss \(sign)\(loss) %")
    case .decoding(let window, _): bar.update(done: layers + 5 + window, of: total)
    }
  }
}
