import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuEvaluation
import DejaVuFormats
import DejaVuModels
import DejaVuQuantization

/// `dejavu quantize`: a checkpoint → the same in codes of a few bits.
struct Quantize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write a model in codes of 8 to 2 bits, in the engine's layout.",
    discussion: """
      Weights become codes with a scale for every group of neighbours in a row; norms, biases and \
      positions stay as they are. The method gptq learns from a text how the errors of one input are \
      made up for by others; use a text that the model is not judged on. The new folder is mapped and \
      used in place, as one of 'dejavu pack'; it appears when it is complete, or not at all. \
      Configuration, tokenizer and predictors are copied; a plan that was calibrated for another \
      format says so when it is used, and 'dejavu calibrate' makes one for this.

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
    help: ArgumentHelp(
      "Windows of the text that are read (1 to 65536; default: 128).", valueName: "count"),
    transform: Numbers.whole(1...65536))
  var windows = 128

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Tokens of a window (16 to 65536; default: 512).", valueName: "count"),
    transform: Numbers.whole(16...65536))
  var length = 512

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Bytes of a file at most: 500MB, 4GiB (default: 49MB).", valueName: "size"),
    transform: Numbers.bytes(1000...1 << 50))
  var shardSize = 49_000_000

  @OptionGroup var threads: ThreadOptions

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func run() throws {
    let start = ContinuousClock.now
    Interrupt.install()
    let options = try codes.options()
    guard !options.needsText || text != nil else {
      throw QuantizationError.noText(method: options.method.rawValue)
    }
    let source = try ModelOptions.folder(model)
    guard !PackedFile.isIn(source) else {
      throw QuantizationError.quantizedAlready(folder: source)
    }
    let checkpoint = try Checkpoint.open(folder: source)
    if let codes = checkpoint.codes.values.first?.codes {
      throw QuantizationError.publishedCodes(folder: source, method: codes.method.rawValue)
    }
    let folder = try NewFolder(path: out)
    let (loaded, windows) = try load(source, options)
    guard let layout = loaded.layout, let first = layout.entry("embed.tokens") else {
      throw QuantizationError.quantizedAlready(folder: source)
    }
    let quantizer = try ModelQuantizer(
      model: loaded.model, source: layout, options: options, windows: windows,
      cpu: CPUOptions(threads: threads.count),
      tensorName: { checkpoint.views[$0]?.tensor ?? "\($0)" })
    let writer = PackedWriter(
      quantizer.layout, folder: folder.workPath,
      metadata: QuantizedCopy.metadata(
        of: loaded.metadata, fingerprint: loaded.fingerprint, options: options),
      shardBytes: shardSize)
    try folder.copyCompanions(from: source)
    // Predictors fit every format of the model that they were trained on.
    try folder.copy(PredictorFile.fileName, from: source)
    try write(
      quantizer, to: writer, from: layout,
      base: loaded.model.tokenEmbedding.base - first.offset)
    try folder.commit()
    let figures = WritingFigures(
      command: "quantize", folder: folder.path, byteCount: writer.byteCount,
      fileCount: writer.fileCount, tensorCount: writer.entries.count,
      fingerprint: loaded.fingerprint, isSynthetic: loaded.isSynthetic,
      time: ContinuousClock.now - start)
    try figures.print(output, warnings: loaded.warnings)
  }

  /// The model, and the windows of the text where the method learns from one.
  private func load(
    _ source: String, _ options: QuantizationOptions
  ) throws -> (LoadedModel, [[TokenID]]) {
    let bar = ProgressBar("packing", isShown: !output.quiet)
    defer { bar.finish() }
    guard options.needsText, let text else {
      let team = try ThreadTeam(threads: threads.count)
      return (try ModelFolder.load(source, team: team) { bar.update($0) }, [])
    }
    let cpu = CPUOptions(threads: threads.count)
    let model = try LanguageModel(path: source, backend: .cpu(cpu)) { bar.update($0) }
    let length = min(length, model.architecture.context)
    let sample = CalibrationText(
      text: try EvaluationText.contents(of: text), model: model, count: self.windows, length: length
    )
    guard !sample.windows.isEmpty else {
      throw QuantizationError.tooLittleText(tokens: sample.tokens, needed: length - 1)
    }
    return (model.loaded, sample.windows)
  }

  /// Writes what stays as it is, then the codes as they are found.
  private func write(
    _ quantizer: ModelQuantizer, to writer: PackedWriter, from layout: PackedLayout,
    base: UnsafeRawPointer
  ) throws {
    for entry in writer.entries where entry.format.groupwise == nil {
      guard let source = layout.entry(entry.name) else { continue }
      try writer.append(
        UnsafeRawBufferPointer(start: base + source.offset, count: source.byteCount), to: entry)
    }
    let bar = ProgressBar("quantizing", isShown: !output.quiet, unit: .steps)
    defer { bar.finish() }
    try quantizer.run(
      progress: { done in
        try Interrupt.check()
        bar.update(done: done, of: quantizer.steps)
      }, emit: { try writer.append($1, to: $0) })
    try writer.finish()
  }
}
