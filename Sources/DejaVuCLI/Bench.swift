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
        dejavu bench --shape opt-1.3b --bits 4 --mlp-density 0.1 --head-density 0.5
        dejavu bench --shape opt-1.3b --sweep --plot sweep.svg
        dejavu bench --shape opt-1.3b --gather
        dejavu bench --backend cuda --model ~/models/opt-1.3b --plan 1%
      """)

  @Option(
    help: ArgumentHelp(
      "Random weights of a published shape, in memory: \(SyntheticOptions.names).",
      valueName: "name"),
    completion: .list(ModelShape.all.map(\.name)), transform: SyntheticOptions.shape)
  var shape: ModelShape?

  @OptionGroup
  var model: ModelOptions

  @Option(
    help: ArgumentHelp(
      "The same model as 'dejavu pack' wrote it: how soon it answers stands beside.",
      valueName: "path"),
    completion: .directory)
  var packed: String?

  @Flag(
    help: ArgumentHelp(
      """
      Measure instead how the rows of chosen neurons are multiplied: fused, and copied together \
      first, with W2's rows contiguous and as a checkpoint has them.
      """))
  var gather = false

  @OptionGroup(title: "Weights of a shape")
  var synthetic: SyntheticOptions

  @OptionGroup(title: "Weights of a shape")
  var groupwise: GroupwiseOptions

  @OptionGroup(title: "Sparse runs")
  var sparse: SparseOptions

  @OptionGroup(title: "Workload")
  var workload: WorkloadOptions

  @Option(
    help: ArgumentHelp(
      "Draw the decode rows, times against densities or depths, into this file.",
      valueName: "file.svg"),
    completion: .file(extensions: ["svg"]))
  var plot: String?

  @Option(
    help: ArgumentHelp(
      """
      cpu, or cuda to decode on an NVIDIA card: a --shape whose weights are made there, or a model, \
      which then reads a text of its own (default: cpu).
      """,
      valueName: "cpu|cuda"))
  var backend = BenchBackend.cpu

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func validate() throws {
    if shape != nil && model.model != nil {
      throw ValidationError("--shape makes its own weights; take either --shape or --model")
    }
    let makesWeights =
      synthetic.dtype != nil || synthetic.reluDensity != nil || groupwise.bits != nil
    if shape == nil && makesWeights {
      throw ValidationError(
        "--dtype, --bits and --relu-density are for weights that --shape makes")
    }
    if synthetic.dtype != nil && groupwise.bits != nil {
      throw ValidationError("--bits and --dtype both say how weights are stored; take one")
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
    if shape != nil && packed != nil {
      throw ValidationError("--packed stands beside the checkpoint that --model names")
    }
    if backend == .cuda { try validateCard() }
    if gather { try validateGather() }
  }

  private func validateGather() throws {
    if shape == nil { throw ValidationError("--gather makes its own rows; name a --shape") }
    let others: [(String, Bool)] = [
      ("--sweep", sparse.sweep), ("--head-density", !sparse.headDensity.isEmpty),
      ("--plot", plot != nil), ("--depth", !workload.depth.isEmpty),
      ("--prompt", !workload.prompt.isEmpty), ("--mode", !workload.mode.isEmpty),
      ("--bits", groupwise.bits != nil),
    ]
    if let other = others.first(where: \.1) {
      throw ValidationError("--gather measures one layer's MLP; leave out \(other.0)")
    }
    if sparse.mlpDensity.contains(0) {
      throw ValidationError("there is nothing to gather at a density of 0")
    }
  }

  func run() throws {
    Interrupt.install()
    if backend == .cuda { return try runCard() }
    if gather, let shape { return try runGather(shape) }
    if let packed { try checkPacked(packed) }
    // A place that cannot be written is better known before measuring than after.
    let drawing = try plot.map { try AtomicFile(path: $0) }
    var workload = workload.workload(sweeps: sparse.sweep)
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
    let total = workload.measurements(sparseRuns: subject.sparsity?.runs.count ?? 0)
    var report = try SpeedBench(subject, workload: workload).run {
      try Interrupt.check()
      bar.update(done: done, of: total)
      done += 1
    }
    bar.finish()
    try Interrupt.check()
    if let packed { report.memory.firstToken.append(try firstToken(ofPacked: packed, team: team)) }
    if let drawing { try draw(report, into: drawing) }
    try StandardOutput.write(output.json ? try report.json() + "\n" : report.text)
  }

  /// Sparse runs stand beside dense ones, and beside exact ones unless others are named.
  private var sparseModes: [RunMode] {
    let named = workload.mode
    let others: [RunMode] = named.isEmpty || named.contains(.exact) ? [.exact] : []
    return [.dense] + others + [.sparse]
  }

  private func draw(_ report: SpeedReport, into file: AtomicFile) throws {
    var text = report.svg
    try text.withUTF8 { try file.append(UnsafeRawBufferPointer($0)) }
    try file.commit()
  }
}
