import ArgumentParser
import DejaVu
import DejaVuCUDA
import DejaVuCore
import DejaVuEvaluation
import Foundation

/// Where `dejavu bench` measures.
enum BenchBackend: String, CaseIterable, ExpressibleByArgument { case cpu, cuda }

/// `dejavu bench --backend cuda`: decoding on a card, of weights that are made there or of a folder's.
extension Bench {
  func validateCard() throws {
    let others: [(String, Bool)] = [
      ("--sweep", sparse.sweep), ("--plot", plot != nil), ("--gather", gather),
      ("--packed", packed != nil),
      ("--threads", !workload.threads.isEmpty), ("--isa", workload.kernels.isa != nil),
      ("--activation-bits", workload.kernels.activationBits != nil),
    ]
    if let other = others.first(where: \.1) {
      throw ValidationError(
        "--backend cuda measures decoding and dense prompts only; leave out \(other.0)")
    }
    if !workload.prompt.isEmpty {
      if shape == nil {
        throw ValidationError(
          "--backend cuda measures prompts of weights that it makes; name a --shape")
      }
      if sparse.isSparse || !workload.depth.isEmpty || !workload.mode.isEmpty {
        throw ValidationError(
          "--backend cuda measures dense prompts or decoding; leave out --prompt, or depths, modes "
            + "and what is sparse")
      }
    }
    if sparse.mlpDensity.count > 1 || sparse.headDensity.count > 1 {
      throw ValidationError("--backend cuda takes one density of each kind")
    }
  }

  func runCard() throws {
    if let shape, !workload.prompt.isEmpty { return try runCardPrompts(shape) }
    var options = cardOptions
    let device = try CUDADevice()
    let made =
      try shape.map { try makeOnCard($0, device: device, options: options) }
      ?? loadOnCard(options: options)
    if case .trained(_, let sparsity?) = made.subject { options.window = sparsity.plan.window }
    let free = made.backend.device.freeBytes
    let bar = ProgressBar("measuring", isShown: !output.quiet, unit: .steps)
    var done = 0
    let rows = try withExtendedLifetime(made.engine) {
      try CardBench(made.backend, made.subject, options: options).run {
        try Interrupt.check()
        bar.update(done: done, of: options.depths.count * options.rounds)
        done += 1
      }
    }
    bar.finish()
    let report = CardReport(
      model: made.name, format: made.format, card: made.backend.device.name,
      plan: sparse.plan, isShape: shape != nil, isSynthetic: made.isSynthetic,
      weightBytes: made.weightBytes, freeBytes: free, options: options, rows: rows)
    try StandardOutput.write((output.json ? report.json.description : report.text) + "\n")
  }

  private var cardOptions: CardBench.Options {
    var options = CardBench.Options()
    if !workload.depth.isEmpty { options.depths = WorkloadOptions.unique(workload.depth) }
    (options.tokens, options.rounds) = (workload.tokens, workload.rounds)
    (options.mlpDensity, options.headDensity) = (sparse.mlpDensity.first, sparse.headDensity.first)
    options.rank = sparse.predictorRank ?? 1024
    options.bits = sparse.predictorBits ?? 8
    options.window = sparse.window ?? 16
    options.headPlacement = sparse.headPlacement ?? options.headPlacement
    options.seed = synthetic.options.seed
    let named = WorkloadOptions.unique(workload.mode)
    if sparse.isSparse {
      // A shape's zeros are as many as its maker says, so that exact rows tell little unasked.
      let isExact = named.isEmpty ? shape == nil : named.contains(.exact)
      options.modes = [.dense] + (isExact ? [.exact] : []) + [.sparse]
    } else {
      options.modes = named.isEmpty ? [.dense] : named
    }
    return options
  }

  /// Weights on a card, and what is known of them.
  private struct CardWeights {
    let backend: CUDABackend
    /// Owns what choosers were made of; nil where nothing was.
    var engine: Engine?
    let subject: CardSubject
    let name: String
    let format: String
    let isSynthetic: Bool
    let weightBytes: Int
  }

  private func check(_ options: CardBench.Options, context: Int) throws {
    guard options.longestSequence <= context else {
      throw BackendError.contextExceeded(needed: options.longestSequence, limit: context)
    }
  }

  private func makeOnCard(
    _ shape: ModelShape, device: CUDADevice, options: CardBench.Options
  ) throws -> CardWeights {
    try check(options, context: shape.context)
    var weights = synthetic.options
    groupwise.apply(to: &weights)
    if sparse.hasDensity, synthetic.reluDensity == nil {
      weights.reluDensity = SyntheticSparsity.reluDensity
    }
    let cuda = CUDAOptions(batchCapacity: 1)
    let model = try SyntheticModel.make(shape: shape, options: weights, on: device, cuda: cuda)
    return CardWeights(
      backend: try CUDABackend(weights: model, on: device, options: cuda), subject: .random,
      name: shape.name, format: weights.formatName, isSynthetic: true,
      weightBytes: model.byteCount)
  }

  /// A folder's weights, uploaded, and the plan that lies beside them.
  private func loadOnCard(options: CardBench.Options) throws -> CardWeights {
    let folder = try model.folder()
    let bar = ProgressBar("loading", isShown: !output.quiet)
    defer { bar.finish() }
    let team = try ThreadTeam(threads: LanguageModel.defaultThreads)
    let loaded = try ModelFolder.load(folder, team: team) { bar.update($0) }
    try Interrupt.check()
    try check(options, context: loaded.model.architecture.context)
    let engine = try Engine(model: loaded.model, backend: .cuda(CUDAOptions()))
    guard let backend = engine.cuda, let maker = try engine.shadowMaker() else {
      preconditionFailure("the engine is on the card")
    }
    let sparsity = try sparse.plan.map { name in
      let (store, plan) = try storedPlan(name, of: loaded, folder: folder)
      return try store.resolve(plan, by: maker)
    }
    let tokens = loaded.generation
    let first = TokenID(tokens.bosToken ?? tokens.eosTokens.first ?? 0)
    return CardWeights(
      backend: backend, engine: engine,
      subject: .trained(first: first, sparsity: sparsity), name: folder,
      format: loaded.model.format.name, isSynthetic: loaded.isSynthetic,
      weightBytes: loaded.byteCount)
  }
}

/// What a card did, for people and for programs.
struct CardReport {
  /// A shape's name, or a folder.
  let model: String
  /// What weights of blocks are stored in.
  let format: String
  let card: String
  /// What sparse rows of a trained model follow.
  let plan: String?
  /// Whether tokens are drawn; else they are the model's own text.
  let isShape: Bool
  let isSynthetic: Bool
  let weightBytes: Int
  /// Of the card's memory, beside weights and working space.
  let freeBytes: Int
  let options: CardBench.Options
  let rows: [CardRow]

  private func speedup(_ row: CardRow) -> Double? {
    guard row.mode != .dense,
      let dense = rows.first(where: { $0.depth == row.depth && $0.mode == .dense })
    else { return nil }
    return CardRow.median(dense.milliseconds) / CardRow.median(row.milliseconds)
  }

  /// What sparse rows follow, and what all rows read.
  private var followed: String {
    let text = "the model's own text, at a temperature of 1"
    if let plan { return "sparse: plan '\(plan)'; " + text }
    guard options.modes.contains(.sparse) else { return isShape ? "drawn tokens" : text }
    return
      "sparse: predictors of rank \(options.rank) in \(options.bits) bits, a threshold each; placed "
      + "\(options.headPlacement.rawValue) for heads, \(options.neuronPlacement.rawValue) for neurons"
  }

  var text: String {
    var lines = [
      "\(model) in \(format) on \(card): \(isSynthetic ? "synthetic" : "trained") weights, "
        + "\(weightBytes / 1_000_000) MB",
      followed,
      "mode    depth   ms/token   on card   MB/token   read GB/s   share   nodes   neurons   heads"
        + "   overlap   speedup",
    ]
    for row in rows {
      let overlap = row.overlap.map { String(format: "%9.2f", $0) } ?? "        -"
      let gain = speedup(row).map { String(format: "%9.2f", $0) } ?? "        -"
      let mode = row.mode.rawValue.padding(toLength: 6, withPad: " ", startingAt: 0)
      let figures = String(
        format: " %6d %10.3f %9.3f %10.0f %11.0f %7.3f %7d %9.3f %7.3f ", row.depth,
        CardRow.median(row.milliseconds), CardRow.median(row.deviceMilliseconds),
        row.bytesPerToken / 1e6, CardRow.median(row.bandwidth), row.share, row.nodes,
        row.tally.neuronDensity, row.tally.headDensity)
      lines.append(mode + figures + overlap + " " + gain)
    }
    return lines.joined(separator: "\n")
  }

  var json: JSONValue {
    let head: [(key: String, value: JSONValue)] = [
      ("schema", .text("dejavu/bench-card/1")), ("shape", .text(model)),
      ("dtype", .text(format)), ("card", .text(card)), ("synthetic", .bool(isSynthetic)),
      ("weight_bytes", .whole(weightBytes)), ("free_bytes", .whole(freeBytes)),
      ("rounds", .whole(options.rounds)), ("tokens_per_run", .whole(options.tokens)),
    ]
    return .object(
      head + (isShape ? predictors : [("plan", plan.map { .text($0) } ?? .null)])
        + [("decode", .array(rows.map(json)))])
  }

  /// What random predictors are like.
  private var predictors: [(key: String, value: JSONValue)] {
    [
      ("predictor_rank", .whole(options.rank)), ("predictor_bits", .whole(options.bits)),
      ("rule", .text("threshold")), ("neuron_placement", .text(options.neuronPlacement.rawValue)),
      ("head_placement", .text(options.headPlacement.rawValue)),
    ]
  }

  private func json(_ row: CardRow) -> JSONValue {
    .object([
      ("mode", .text(row.mode.rawValue)), ("depth", .whole(row.depth)),
      ("ms_per_token", .precise(CardRow.median(row.milliseconds))),
      ("card_ms_per_token", .precise(CardRow.median(row.deviceMilliseconds))),
      ("bytes_per_token", .precise(row.bytesPerToken)),
      ("read_gb_per_s", .precise(CardRow.median(row.bandwidth))),
      ("bandwidth_share", .precise(row.share)), ("graph_nodes", .whole(row.nodes)),
      ("neuron_density", .precise(row.tally.neuronDensity)),
      ("head_density", .precise(row.tally.headDensity)),
      ("set_overlap", row.overlap.map { .precise($0) } ?? .null),
      ("speedup_over_dense", speedup(row).map { .precise($0) } ?? .null),
    ])
  }
}
