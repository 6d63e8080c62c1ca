import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuFormats
import DejaVuModels

/// What `dejavu bench` measures: weights made in memory, or a folder's.
extension Bench {
  func make(_ shape: ModelShape, team: ThreadTeam) throws -> SpeedBench.Subject {
    let bar = ProgressBar("making weights", isShown: !output.quiet)
    defer { bar.finish() }
    var options = synthetic.options
    groupwise.apply(to: &options)
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
        shape: shape.name, dtype: options.formatName, synthetic: true, recipe: recipe,
        weightBytes: made.layout.byteCount),
      region: UnsafeRawBufferPointer(start: made.memory.base, count: made.layout.byteCount),
      packing: nil,
      sparsity: sparse.hasDensity
        ? SparseSubject(synthetic: sparse.options(seed: options.seed), points: sparse.points)
        : nil)
  }

  /// Loads a folder; a tokenizer is not needed, since tokens are drawn.
  func load(team: ThreadTeam) throws -> SpeedBench.Subject {
    let folder = try model.folder()
    let bar = ProgressBar("loading", isShown: !output.quiet)
    defer { bar.finish() }
    let start = ContinuousClock.now
    let loaded = try ModelFolder.load(folder, team: team) { bar.update($0) }
    let seconds = Quantity.seconds(ContinuousClock.now - start)
    try Interrupt.check()
    let first = try firstToken(of: loaded, folder: folder, team: team, since: start, seconds)
    let bytes = loaded.byteCount
    var region: UnsafeRawBufferPointer?
    if let first = loaded.layout?.entry("embed.tokens") {
      region = UnsafeRawBufferPointer(
        start: loaded.model.tokenEmbedding.base - first.offset, count: bytes)
    }
    return SpeedBench.Subject(
      model: loaded.model,
      description: .init(
        shape: folder, dtype: loaded.model.format.name, synthetic: loaded.isSynthetic,
        recipe: loaded.metadata["dejavu.synthetic"], weightBytes: bytes),
      region: region,
      packing: loaded.isMapped
        ? nil : .init(threads: team.count, bytes: bytes, seconds: seconds),
      firstToken: first,
      sparsity: try sparse.plan.map { try stored($0, model: loaded, folder: folder) })
  }

  /// The sparse runs that follow a plan stored beside a model.
  private func stored(
    _ name: String, model: LoadedModel, folder: String
  ) throws -> SparseSubject {
    let (store, plan) = try storedPlan(name, of: model, folder: folder)
    let window = plan.skipsHeads ? plan.window : 0
    let run = SparseSubject.Run(point: nil) { engine in
      guard let backend = engine.cpu else { preconditionFailure("the engine is on the CPU") }
      return try store.resolve(plan, on: backend)
    }
    return SparseSubject(description: .init(plan: name, window: window), runs: [run])
  }

  /// The plan of this name that lies beside a model, and the store that has its predictors.
  func storedPlan(
    _ name: String, of model: LoadedModel, folder: String
  ) throws -> (store: SparsityStore, plan: SparsityPlan) {
    let store = try SparsityStore.open(model: model, folder: folder)
    guard let store, let plan = store.plan(named: name) else {
      throw CommandError.noPlan(
        name: name, folder: folder, known: store?.plans.map(\.name) ?? [])
    }
    return (store, plan)
  }

  /// Decodes one token of a model that was just loaded; of the time since `start`, when its folder
  /// was opened, loading took `loadSeconds`.
  private func firstToken(
    of model: LoadedModel, folder: String, team: ThreadTeam, since start: ContinuousClock.Instant,
    _ loadSeconds: Double
  ) throws -> SpeedReport.FirstTokenRow {
    let engine = try Engine(
      model: model.model, backend: .cpu(CPUOptions(threads: team.count)))
    _ = try engine.makeSession(capacity: 1).decode(0)
    return .init(
      isPacked: model.isMapped, folder: folder, threads: team.count, loadSeconds: loadSeconds,
      seconds: Quantity.seconds(ContinuousClock.now - start))
  }

  /// Looks whether a folder is a packed copy of the model that will be measured.
  func checkPacked(_ path: String) throws {
    let (folder, source) = (try ModelOptions.folder(path), try model.folder())
    guard PackedFile.isIn(folder) else {
      throw CheckpointError.unreadable(
        path: folder + "/" + PackedFile.fileName,
        reason: "there is none; 'dejavu pack' makes such folders")
    }
    let prints = try [source, folder].map { try ModelDescription(folder: $0).fingerprint }
    guard prints[0] == prints[1] else {
      throw CommandError.differentModels(
        folder: source, fingerprint: prints[0], other: folder, otherFingerprint: prints[1])
    }
  }

  /// Opens the packed copy of the model that was measured.
  func firstToken(ofPacked path: String, team: ThreadTeam) throws -> SpeedReport.FirstTokenRow {
    let folder = try ModelOptions.folder(path)
    let start = ContinuousClock.now
    let loaded = try ModelFolder.load(folder, team: team)
    let seconds = Quantity.seconds(ContinuousClock.now - start)
    return try firstToken(of: loaded, folder: folder, team: team, since: start, seconds)
  }
}
