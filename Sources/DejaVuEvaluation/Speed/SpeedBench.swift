import DejaVu
import DejaVuCPU
package import DejaVuCore
import DejaVuModels

/// Measures a model: decoding, prompts and memory, with the machine's own limits in between.
package struct SpeedBench {
  /// A model and how it came into memory.
  package struct Subject {
    package let model: PackedModel
    package let description: SpeedReport.Model
    /// The weights, where they lie on huge pages of our own.
    package let region: UnsafeRawBufferPointer?
    package let packing: SpeedReport.PackingRow?
    /// From opening the folder to the first token; nil for weights made in memory.
    package let firstToken: SpeedReport.FirstTokenRow?
    /// What sparse runs follow; nil where there are none.
    package let sparsity: SparseSubject?

    package init(
      model: PackedModel, description: SpeedReport.Model, region: UnsafeRawBufferPointer?,
      packing: SpeedReport.PackingRow?, firstToken: SpeedReport.FirstTokenRow? = nil,
      sparsity: SparseSubject? = nil
    ) {
      self.firstToken = firstToken
      self.sparsity = sparsity
      self.model = model
      self.description = description
      self.region = region
      self.packing = packing
    }
  }

  private let subject: Subject
  private let workload: Workload
  private let fresh = FreshMemory()

  package init(_ subject: Subject, workload: Workload) {
    self.subject = subject
    self.workload = workload
  }

  /// Measures everything, one number of threads after the other.
  ///
  /// - Parameter step: called before each of the workload's measurements; it may throw to give up.
  /// - Returns: the rows of every number of threads.
  /// - Throws: ``BackendError``, or what `step` throws.
  package func run(step: @escaping () throws -> Void) throws -> SpeedReport {
    var report: SpeedReport?
    for threads in workload.threads {
      let engine = try Engine(
        model: subject.model, backend: .cpu(workload.options(threads: threads)))
      guard let backend = engine.cpu else { preconditionFailure("the engine is on the CPU") }
      let sparse = try (subject.sparsity?.runs ?? []).map { run in
        try step()
        return SparseRun(point: run.point, sparsity: try run.make(engine))
      }
      let run = try SpeedRun(engine: engine, workload: workload, sparse: sparse)
      try run.warmUp()
      // The peak belongs to the first number of threads: the probes that follow take memory too.
      var current =
        report
        ?? empty(cacheBytes: backend.cacheLayout.bytesPerPosition * run.positions)
      // Soon after packing, which is held against it.
      current.memory.faultIn.append(
        .init(
          threads: threads,
          gigabytesPerSecond: try fresh.faultIn(
            team: backend.team, count: Workload.leastProbes)))
      try measure(run, engine: engine, backend: backend, into: &current, step: step)
      report = current
    }
    guard var report else { preconditionFailure("a workload has a number of threads") }
    report.compareWithDense()
    report.compareWithFreshMemory()
    report.notes = notes(report)
    return report
  }

  private func measure(
    _ run: SpeedRun, engine: Engine, backend: CPUBackend, into report: inout SpeedReport,
    step: @escaping () throws -> Void
  ) throws {
    var run = run
    let threads = backend.team.count
    let a = backend.architecture
    let bandwidth = try MemoryBandwidth(team: backend.team, weights: subject.region)
    let products = workload.prompts.max().flatMap {
      ProductRate(tokens: $0, columns: a.neurons, inner: a.hidden, threads: threads)
    }
    let probes = SpeedRun.Probes(
      bandwidth: { bandwidth.sample() }, product: { products?.sample(tokens: $0) }, step: step)
    for index in 0..<workload.rounds { try run.round(index, probes) }
    try run.observe()
    while bandwidth.gigabytesPerSecond.count < Workload.leastProbes { bandwidth.sample() }
    report.bandwidth.append(
      .init(threads: threads, gigabytesPerSecond: bandwidth.gigabytesPerSecond))
    report.decode += run.decode.map {
      .init($0, model: subject.description, threads: threads, bandwidth: bandwidth.median)
    }
    let isRounded = backend.multipliesInBFloat16
    let error = try isRounded ? logitError(engine, threads: threads) : nil
    for figures in run.prompt {
      if let products {
        report.sgemm.append(
          .init(
            threads: threads, tokens: figures.tokens, columns: products.columns,
            inner: products.inner, gigaflopsPerSecond: figures.products))
      }
      var row = SpeedReport.PromptRow(
        figures, model: subject.description, threads: threads,
        arithmetic: isRounded ? "bfloat16" : "float32")
      row.logitError = Figure(error)
      report.prompt.append(row)
    }
  }

  /// What rounding the products of a prompt to bfloat16 does to its last logits: the largest
  /// difference by the largest logit; nil for weights that are bfloat16 themselves.
  private func logitError(_ engine: Engine, threads: Int) throws -> Double? {
    guard let length = workload.prompts.min(), subject.model.format != .plain(.bfloat16) else {
      return nil
    }
    var options = workload.options(threads: threads)
    options.multipliesPromptInBFloat16 = false
    let exact = try Engine(model: subject.model, backend: .cpu(options))
    let vocabulary = subject.model.architecture.vocabulary
    let tokens = (0..<length).map { TokenID(($0 * 7919 + 13) % vocabulary) }
    let logits = try [engine, exact].map { engine in
      var last: [Float] = []
      let session = try engine.makeSession(capacity: length)
      try session.run(tokens[...], wanted: .last) { _, logits in last = Array(logits) }
      return last
    }
    let largest = logits[1].map(abs).max() ?? 0
    let difference = zip(logits[0], logits[1]).map { abs($0 - $1) }.max() ?? 0
    return largest > 0 ? Double(difference / largest) : nil
  }

  private func empty(cacheBytes: Int) -> SpeedReport {
    let blas = ProductRate.installedLibrary
    var memory = SpeedReport.MemoryRow(
      peakBytes: Machine.peakResidentBytes, weightBytes: subject.description.weightBytes,
      cacheBytes: cacheBytes)
    memory.packing = subject.packing
    memory.firstToken = subject.firstToken.map { [$0] } ?? []
    return SpeedReport(
      model: subject.description,
      machine: .init(
        processor: Machine.processor, cores: LanguageModel.defaultThreads,
        instructionSet: workload.instructionSet.rawValue,
        activationBits: subject.model.isGroupwise ? workload.activationBits.rawValue : nil,
        blas: blas,
        blasMissing: blas == nil ? "no BLAS was found; install OpenBLAS" : nil),
      method: .init(
        rounds: workload.rounds, tokensPerRun: workload.tokens, seed: workload.seed,
        sparsity: subject.sparsity?.description),
      memory: memory)
  }

  private func notes(_ report: SpeedReport) -> [String] {
    var notes: [String] = []
    let a = subject.model.architecture
    if subject.description.synthetic {
      notes.append("the weights are random numbers: figures are about speed, never quality")
    }
    if subject.sparsity?.description.rank != nil {
      notes.append(
        "predictors are random too: they cost what trained ones do, and neighbouring tokens share "
          + "rows as asked; 'parts' is from a run of its own that reads the clock more often")
    }
    if report.decode.contains(where: { $0.askedMLPDensity.value == 0 }) {
      notes.append(
        "sparse rows with all heads stand like for like with engines that skip neurons only; 0 % "
          + "of neurons leaves the MLP out and shows what is left to gain")
    }
    if subject.description.weightBytes < 1 << 28 {
      notes.append("so small a model may lie in the cache: shares of bandwidth can pass 100 %")
    }
    if let row = report.sgemm.first, row.columns < a.neurons {
      notes.append("sgemm was measured with \(row.columns) of \(a.neurons) neurons")
    }
    if subject.model.format != .plain(.bfloat16),
      report.prompt.contains(where: { $0.logitError.value != nil })
    {
      notes.append("logit error is that of bfloat16 products against float32 ones")
    }
    return notes
  }
}
