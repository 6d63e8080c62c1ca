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
        dejavu bench --shape opt-1.3b --mlp-density 0.1 --head-density 0.5
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

  @OptionGroup(title: "Sparse runs")
  var sparse: SparseOptions

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
    if shape == nil && sparse.hasDensity {
      throw ValidationError("densities are for weights that --shape makes; name a --plan instead")
    }
    if shape != nil && sparse.plan != nil {
      throw ValidationError("--plan is for trained models; --shape takes --mlp-density")
    }
    if !sparse.isSparse && workload.mode.contains(.sparse) {
      throw ValidationError("sparse runs need --mlp-density, --head-density or --plan")
    }
  }

  func run() throws {
    Interrupt.install()
    var workload = workload.workload
    workload.seed = synthetic.options.seed
    if sparse.isSparse { workload.modes = sparseModes }
    if sparse.hasDensity { workload.lengthen(toSettle: sparse.options(seed: 1).window) }
    if workload.depths.isEmpty && workload.prompts.isEmpty {
      throw ValidationError("nothing is left to measure")
    }
    let team = try ThreadTeam(threads: workload.threads.max() ?? 1)
    if let shape, workload.longestSequence > shape.context {
      throw BackendError.contextExceeded(needed: workload.longestSequence, limit: shape.context)
    }
    let subject = try shape.map { try make($0, team: team) } ?? load(team: team)
    if sparse.plan != nil, let sparsity = subject.sparsity {
      workload.lengthen(toSettle: sparsity.description.window)
    }
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

  /// Sparse runs stand beside dense ones, and beside exact ones unless others are named.
  private var sparseModes: [RunMode] {
    let named = workload.workload.modes
    let others: [RunMode] = workload.mode.isEmpty ? [.exact] : named.filter { $0 == .exact }
    return [.dense] + others + [.sparse]
  }

  private func make(_ shape: ModelShape, team: ThreadTeam) throws -> SpeedBench.Subject {
    let bar = ProgressBar("making weights", isShown: !output.quiet)
    defer { bar.finish() }
    var options = synthetic.options
    if sparse.hasDensity, synthetic.reluDensity == nil {
      options.reluDensity = SyntheticSparsity.reluDensity
    }
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
      packing: nil,
      sparsity: sparse.hasDensity
        ? SparseSubject(synthetic: sparse.options(seed: options.seed)) : nil)
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
        ? nil : .init(threads: team.count, bytes: bytes, seconds: seconds),
      sparsity: try sparse.plan.map { try stored($0, model: loaded, folder: folder) })
  }

  /// The plan of this name that lies beside a model.
  private func stored(
    _ name: String, model: LoadedModel, folder: String
  ) throws -> SparseSubject {
    let store = try SparsityStore.open(model: model, folder: folder)
    guard let store, let plan = store.plan(named: name) else {
      throw CommandError.noPlan(
        name: name, folder: folder, known: store?.plans.map(\.name) ?? [])
    }
    let window = plan.skipsHeads ? plan.window : 0
    return SparseSubject(description: .init(plan: name, window: window)) { engine in
      guard let backend = engine.cpu else { preconditionFailure("the engine is on the CPU") }
      return try store.resolve(plan, on: backend)
    }
  }
}
