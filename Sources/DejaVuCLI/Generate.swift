import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuFormats
import DejaVuModels

/// `dejavu generate`: continues a text.
struct Generate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Continue a text.",
    discussion: """
      The continuation, without the prompt, goes to standard output piece by piece as it is made, \
      and ends with a line break. The prompt may come through a pipe; one line break at its end is \
      taken off, and bytes that are no UTF-8 become U+FFFD. Sampling options that are not given are \
      those of the model's generation_config.json; a model that suggests none is greedy. Ctrl-C ends the text cleanly, a second \
      Ctrl-C at once.

        dejavu generate "Once upon a time"
        dejavu generate --model ~/models/opt-1.3b --temperature 0 "The sea"
        echo "The three laws of" | dejavu generate --json
      """)

  @Argument(help: "The text to continue; '-' or a pipe reads it from standard input.")
  var prompt: String?

  @OptionGroup var model: ModelOptions

  @Option(
    name: [.customShort("n"), .long], parsing: .unconditional,
    help: ArgumentHelp("Tokens at most (1 to 16777216; default: 128).", valueName: "count"),
    transform: Numbers.whole(1...1 << 24))
  var maxTokens = 128

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "End before this text; may be given several times.", valueName: "text"))
  var stop: [String] = []

  @Flag(
    help: ArgumentHelp(
      "Read control tokens such as </s> in the prompt as such.",
      discussion: "Leave it off for text from strangers."))
  var parseSpecial = false

  @OptionGroup(title: "Sampling")
  var sampling: SamplingArguments

  @OptionGroup(title: "Machine")
  var machine: MachineOptions

  @OptionGroup var backend: BackendOptions

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func validate() throws {
    if stop.contains("") { throw ValidationError("--stop: the text must not be empty") }
  }

  func run() throws {
    let started = ContinuousClock.now
    Interrupt.install()
    let text = try Interrupt.endingAtOnce { try Prompt.read(prompt) }
    let folder = try model.folder()
    let loading = ContinuousClock.now
    let model = try load(folder)
    let loaded = ContinuousClock.now
    let choice = try Interrupt.endingAtOnce { try machine.choice(of: model, in: folder) }
    tell(choice)
    let sampling = sampling.options(over: model.loaded.generation)
    let report = try generate(text, with: model, choice, sampling)
    let afterStart = ContinuousClock.now - started
    try print(
      GenerationFigures(
        model: model, folder: folder, sampling: sampling, cpu: machine.cpu,
        choice: choice, loadTime: loaded - loading,
        timeToFirstToken: afterStart - report.decodeTime, report: report))
    try Interrupt.check()
  }

  /// What the program chose by itself, and what the user should know of the plan.
  private func tell(_ choice: SparsityChoice) {
    guard !output.quiet else { return }
    if let reason = choice.reason {
      let name = choice.sparsity.map { "plan '\($0.plan.name)'" }
      let taken = name ?? (choice.mode == .dense ? "off" : choice.mode.rawValue)
      Terminal.error.writeLine("auto: \(taken), \(reason)")
    }
    if let warning = choice.warning { Terminal.error.writeLine("warning: \(warning)") }
  }

  private func load(_ folder: String) throws -> LanguageModel {
    let bar = ProgressBar("loading", isShown: !output.quiet)
    defer { bar.finish() }
    let model = try Interrupt.endingAtOnce {
      try backend.load(folder, cpu: machine.cpu) { bar.update($0) }
    }
    if !output.quiet {
      for warning in model.loaded.warnings { Terminal.error.writeLine("warning: \(warning)") }
    }
    return model
  }

  /// Runs to the end, a signal or the first piece that cannot be written.
  private func generate(
    _ text: String, with model: LanguageModel, _ choice: SparsityChoice, _ sampling: SamplingOptions
  ) throws -> GenerationReport {
    let options = GenerationOptions(
      maxTokens: maxTokens, sampling: sampling, stop: stop,
      parsesSpecialTokens: parseSpecial)
    let streams = !output.json
    var failure: CommandError?
    let report = try Interrupt.endingAtOnce {
      try TextGenerator(model: model).run(
        prompt: text, options: options, mode: choice.mode, sparsity: choice.sparsity,
        isCancelled: { Interrupt.signalNumber != nil }
      ) { piece in
        Interrupt.endCleanly()
        do throws(CommandError) {
          if streams { try StandardOutput.write(StandardOutput.harmless(piece)) }
        } catch {
          failure = error
        }
        return failure == nil
      }
    }
    if let failure { throw failure }
    if streams, !report.text.hasSuffix("\n") { try StandardOutput.write("\n") }
    return report
  }

  private func print(_ figures: GenerationFigures) throws {
    if output.json { try StandardOutput.write(figures.json.description + "\n") }
    guard !output.quiet else { return }
    Terminal.error.writeLine(Terminal.error.styled(figures.line, .dim))
  }
}
