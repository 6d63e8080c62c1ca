import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuEvaluation
import DejaVuFormats
import DejaVuModels
import DejaVuTraining

/// `dejavu train`: a text → predictors of the rows that a model needs.
struct Train: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Train predictors of the heads and neurons that each token needs.",
    discussion: """
      Reads the text with the model, watches which rows matter, and trains a small predictor for \
      every layer, within a fixed time and memory. Lines that hold only <|endoftext|> separate \
      documents; one in twenty is held out, and the figures come from there. Ctrl-C stops; the \
      same command continues, at most a minute of work being lost whatever ends it. With \
      --backend cuda the card reads the text and trains; it takes 8 GB for what it trains at once, \
      and up to 16 GB of the machine's memory for samples.
      """)

  @OptionGroup(title: "Model")
  var model: ModelOptions

  @Option(
    help: ArgumentHelp("The text to train on, in the language of later use.", valueName: "file"),
    completion: .file())
  var text: String

  @Option(
    help: ArgumentHelp(
      "The file to write (default: predictors.safetensors in the model's folder).",
      valueName: "path"))
  var out: String?

  @OptionGroup(title: "Training")
  var training: TrainingArguments

  @Flag(
    inversion: .prefixedNo,
    help: "Continue a training that was interrupted (--no-resume keeps no state at all).")
  var resume = true

  @Flag(help: "Drop the state of an interrupted training and start again.")
  var fresh = false

  @OptionGroup(title: "Machine") var backend: BackendOptions

  @OptionGroup var threads: ThreadOptions

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func run() throws {
    Interrupt.install()
    let folder = try model.folder()
    let out = out ?? folder + "/" + PredictorFile.fileName
    let documents = try EvaluationText.contents(of: text)
    // A place that cannot be written is found out now, not after half an hour.
    try AtomicFile(path: out).abandon()
    let statePath = resume ? out + ".training" : nil
    if fresh, let statePath { FileSystem.remove(statePath) }
    let loaded = try load(folder)
    var options = training.options
    if loaded.engine.cuda != nil { options.useCardMemory() }
    let work = try PredictorTraining(
      engine: loaded.engine, tokenizer: loaded.tokenizer, fingerprint: loaded.loaded.fingerprint,
      text: documents, options: options, statePath: statePath)
    let progress = TrainingProgressLine(isShown: !output.quiet)
    let report = try work.run(
      progress: { progress.show($0) }, isInterrupted: { Interrupt.signalNumber != nil })
    progress.clear()
    guard let report else {
      if statePath != nil, !output.quiet {
        Terminal.error.writeLine("stopped; the same command continues")
      }
      throw CommandError.interrupted(signal: Interrupt.signalNumber ?? 2)
    }
    try work.write(to: out)
    let figures = TrainingFigures(
      report, model: folder, output: out, fingerprint: loaded.loaded.fingerprint)
    if output.json { try StandardOutput.write(figures.json.description + "\n") }
    if !output.quiet && !output.json { try StandardOutput.write(figures.text) }
  }

  private func load(_ folder: String) throws -> LanguageModel {
    let bar = ProgressBar("packing", isShown: !output.quiet)
    defer { bar.finish() }
    var options = CPUOptions(threads: threads.count)
    // What matters of a row is its contribution to two or three digits.
    if options.instructionSet.multipliesBFloat16 { options.multipliesPromptInBFloat16 = true }
    let loaded = try backend.load(folder, cpu: options) { bar.update($0) }
    try Interrupt.check()
    return loaded
  }
}
