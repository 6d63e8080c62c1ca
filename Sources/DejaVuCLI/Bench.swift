import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuFormats
import DejaVuModels

/// `dejavu bench`: how fast a model decodes and reads prompts, against what the machine can do.
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure decoding and prompts against the machine's own limits.",
    discussion: """
      Decoding is held against the read bandwidth, the better of plain and prefetching reads of \
      at least 1 GiB on huge pages, probed just before every run of tokens; prompts against the \
      float32 product of the BLAS in the size of the model's MLP, measured just before every \
      prompt. 'bandwidth' and 'of sgemm' are medians of one by medians of the other in the same \
      run; 'by round' is the median of every round's own ratio, 'range' the lowest and highest. \
      Bytes are weight and cache bytes really read, one row of an embedding or position table per \
      token; the clock is read around single tokens and nothing else. Only a quiet machine gives \
      figures that mean something: watch the ranges. See Documentation/Measuring.md.

        dejavu bench --shape opt-1.3b --threads 1 --threads 2
        dejavu bench --model ~/models/opt-1.3b --mode dense --mode exact --json
      """)

  @Option(
    help: ArgumentHelp(
      "Random weights of a published shape, in memory: \(SyntheticOptions.names).",
      valueName: "name"),
    completion: .list(ModelShape.all.map(\.name)), transform: SyntheticOptions.shape)
  var shape: ModelShape?

  @OptionGroup
  var model: ModelOptions

  @OptionGroup(title: "Weights of a shape")
  var synthetic: SyntheticOptions

  @OptionGroup(title: "Workload")
  var workload: WorkloadOptions

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func validate() throws {
    if shape != nil && model.model != nil {
      throw ValidationError("--shape makes its own weights; take either --shape or --model")
    }
    let makesWeights = synthetic.dtype != nil || synthetic.reluDensity != nil
    if shape == nil && makesWeights {
      throw ValidationError("--dtype and --relu-density are for weights that --shape makes")
    }
  }

  func run() throws {
    Interrupt.install()
    var workload = workload.workload
    workload.seed = synthetic.options.seed
    if workload.depths.isEmpty && workload.prompts.isEmpty {
      throw ValidationError("nothing is left to measure")
    }
    let team = try ThreadTeam(threads: workload.threads.max() ?? 1)
    if let shape, workload.longestSequence > shape.context {
      throw BackendError.contextExceeded(needed: workload.longestSequence, limit: shape.context)
    }
    let subject = try shape.map { try make($0, team: team) } ?? load(team: team)
    let bar = ProgressBar("measuring", isShown: !output.quiet, unit: .steps)
    var done = 0
    let report = try SpeedBench(subject, workload: workload).run {
      try Interrupt.check()
      bar.update(done: done, of: workload.measurements)
      done += 1
    }
    bar.finish()
    try Interrupt.check()
    try StandardOutput.write(output.json ? try report.json() + "\n" : report.text)
  }

  private func make(_ shape: ModelShape, team: ThreadTeam) throws -> SpeedBench.Subject {
    let bar = ProgressBar("making weights", isShown: !output.quiet)
    defer { bar.finish() }
    let options = synthetic.options
    let made = try SyntheticModel(shape: shape, options: options, team: team) { progress in
      try Interrupt.check()
      bar.update(progress)
    }
    let recipe = SyntheticModel.metadata(shape: shape, options: options)["dejavu.synthetic"]
    return SpeedBench.Subject(
      model: made.model,
      description: .init(
        shape: shape.name, dtype: options.dtype.rawValue, synthetic: true, recipe: recipe,
        weightBytes: made.layout.byteCount),
      region: UnsafeRawBufferPointer(start: made.memory.base, count: made.layout.byteCount),
      packing: nil)
  }

  /// Loads a folder; a tokenizer is not needed, since tokens are drawn.
  private func load(team: ThreadTeam) throws -> SpeedBench.Subject {
    let folder = try model.folder()
    let bar = ProgressBar("loading", isShown: !output.quiet)
    defer { bar.finish() }
    let start = ContinuousClock.now
    let loaded = try ModelFolder.load(folder, team: team) { bar.update($0) }
    let seconds = Quantity.seconds(ContinuousClock.now - start)
    try Interrupt.check()
    // A mapped file is its tensors and a short header.
    let bytes =
      loaded.layout?.byteCount
      ?? FileSystem.byteCount(of: folder + "/" + PackedFile.fileName) ?? 0
    var region: UnsafeRawBufferPointer?
    if let first = loaded.layout?.entry("embed.tokens") {
      region = UnsafeRawBufferPointer(
        start: loaded.model.tokenEmbedding.base - first.offset, count: bytes)
    }
    return SpeedBench.Subject(
      model: loaded.model,
      description: .init(
        shape: folder, dtype: loaded.model.dtype.rawValue, synthetic: loaded.isSynthetic,
        recipe: loaded.metadata["dejavu.synthetic"], weightBytes: bytes),
      region: region,
      packing: loaded.isMapped
        ? nil : .init(threads: team.count, bytes: bytes, seconds: seconds))
  }
}
