import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuEvaluation
import DejaVuFormats
import DejaVuQuantization

/// `dejavu quantize`: a checkpoint → the same in codes of a few bits.
struct Quantize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write a checkpoint in codes of 8 to 2 bits.",
    discussion: """
      Weights become codes with a scale for every group of neighbours in a row; norms, biases and \
      positions stay as they are. The method gptq learns from a text how the errors of one input are \
      made up for by others; use a text that the model is not judged on. Configuration and tokenizer \
      are copied. The new folder appears when it is complete, or not at all.

        dejavu quantize model model-4bit --text calibration.txt
        dejavu quantize model model-8bit --bits 8 --method search
      """)

  @Argument(help: "The checkpoint's folder.", completion: .directory)
  var model: String

  @Argument(help: "The folder to make.", completion: .directory)
  var out: String

  @OptionGroup(title: "Codes")
  var codes: QuantizationArguments

  @Option(
    help: ArgumentHelp("The text that gptq and --weighted learn from.", valueName: "file"),
    completion: .file())
  var text: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Windows of the text that are read (1 to 65536).", valueName: "count"),
    transform: Numbers.whole(1...65536))
  var windows = 128

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Tokens of a window (16 to 65536).", valueName: "count"),
    transform: Numbers.whole(16...65536))
  var length = 512

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Bytes of a file at most: 500MB, 4GiB.", valueName: "size"),
    transform: Numbers.bytes(1000...1 << 50))
  var shardSize = 49_000_000

  @Option(
    name: [.short, .long], parsing: .unconditional,
    help: ArgumentHelp("Threads (1 to 1024; default: one per core).", valueName: "count"),
    transform: Numbers.whole(1...1024))
  var threads: Int?

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func run() throws {
    let start = ContinuousClock.now
    Interrupt.install()
    let options = codes.options
    guard !options.needsText || text != nil else {
      throw QuantizationError.noText(method: options.method.rawValue)
    }
    let source = try ModelOptions.folder(model)
    let checkpoint = try Checkpoint.open(folder: source)
    let folder = try NewFolder(path: out)
    let cpu = CPUOptions(threads: threads ?? LanguageModel.defaultThreads)
    let quantizer = try quantizer(source, checkpoint, options, cpu)
    var metadata = checkpoint.metadata
    metadata["dejavu.fingerprint"] = metadata["dejavu.fingerprint"] ?? checkpoint.fingerprint
    metadata["format"] = metadata["format"] ?? "pt"
    var export = QuantizedExport(
      checkpoint, quantizer: quantizer, metadata: metadata, folder: folder, shardBytes: shardSize)
    try folder.copyCompanions(from: checkpoint.folder)
    try writeConfiguration(options, checkpoint, folder)
    try export.writePlain()
    let bar = ProgressBar("quantizing", isShown: !output.quiet, unit: .steps)
    try quantizer.run(
      progress: { done in
        try Interrupt.check()
        bar.update(done: done, of: quantizer.steps)
      }, emit: { try export.write($1, $0) })
    bar.finish()
    try export.finish()
    try folder.commit()
    let figures = WritingFigures(
      command: "quantize", folder: folder.path, byteCount: export.byteCount,
      fileCount: export.fileCount, tensorCount: export.tensorCount,
      fingerprint: metadata["dejavu.fingerprint"] ?? "",
      isSynthetic: metadata["dejavu.synthetic"] != nil, time: ContinuousClock.now - start)
    try figures.print(output, warnings: checkpoint.warnings)
  }

  private func quantizer(
    _ source: String, _ checkpoint: Checkpoint, _ options: QuantizationOptions, _ cpu: CPUOptions
  ) throws -> ModelQuantizer {
    let bar = ProgressBar("packing", isShown: !output.quiet)
    defer { bar.finish() }
    let loaded: LoadedModel
    var windows: [[TokenID]] = []
    if options.needsText, let text {
      let model = try LanguageModel(path: source, backend: .cpu(cpu)) { bar.update($0) }
      loaded = model.loaded
      let length = min(length, model.architecture.context)
      let sample = CalibrationText(
        bytes: try TextFile.read(text), model: model, count: self.windows, length: length)
      guard !sample.windows.isEmpty else {
        throw QuantizationError.tooLittleText(tokens: sample.tokens, needed: length - 1)
      }
      windows = sample.windows
    } else {
      let team = try ThreadTeam(threads: cpu.threads)
      loaded = try ModelFolder.load(source, team: team) { bar.update($0) }
    }
    guard !loaded.isMapped else { throw QuantizationError.quantizedAlready(folder: source) }
    return try ModelQuantizer(
      model: loaded.model, options: options, windows: windows, cpu: cpu,
      tensorName: { checkpoint.views[$0]?.tensor ?? "\($0)" })
  }

  private func writeConfiguration(
    _ options: QuantizationOptions, _ checkpoint: Checkpoint, _ folder: NewFolder
  ) throws {
    let isTied = checkpoint.architecture.tiesHead
    let config = QuantizationConfig(
      method: options.method.rawValue, blocks: options.blocks,
      embedding: isTied ? options.head : options.embedding, head: isTied ? nil : options.head)
    let text = try TextFile.read(checkpoint.folder + "/config.json")
    try config.inserted(into: text).withUnsafeBytes { try folder.write($0, to: "config.json") }
  }
}
