import ArgumentParser
import DejaVu
import DejaVuCUDA
import DejaVuCore
import DejaVuEvaluation
import Foundation

/// Where `dejavu bench` measures.
enum BenchBackend: String, CaseIterable, ExpressibleByArgument { case cpu, cuda }

/// `dejavu bench --backend cuda`: decoding on a card, with weights that are made there.
extension Bench {
  func validateCard() throws {
    guard shape != nil else {
      throw ValidationError(
        "--backend cuda measures weights that it makes on the card; name a --shape")
    }
    let others: [(String, Bool)] = [
      ("--sweep", sparse.sweep), ("--plot", plot != nil), ("--gather", gather),
      ("--prompt", !workload.prompt.isEmpty), ("--mode", !workload.mode.isEmpty),
      ("--threads", !workload.threads.isEmpty), ("--isa", workload.kernels.isa != nil),
      ("--activation-bits", workload.kernels.activationBits != nil),
    ]
    if let other = others.first(where: \.1) {
      throw ValidationError("--backend cuda decodes dense and sparse only; leave out \(other.0)")
    }
    if sparse.mlpDensity.count > 1 || sparse.headDensity.count > 1 {
      throw ValidationError("--backend cuda takes one density of each kind")
    }
  }

  func runCard(_ shape: ModelShape) throws {
    var options = CardBench.Options()
    if !workload.depth.isEmpty { options.depths = WorkloadOptions.unique(workload.depth) }
    (options.tokens, options.rounds) = (workload.tokens, workload.rounds)
    (options.mlpDensity, options.headDensity) = (sparse.mlpDensity.first, sparse.headDensity.first)
    options.rank = sparse.predictorRank ?? 1024
    options.bits = sparse.predictorBits ?? 8
    options.window = sparse.window ?? 16
    options.headPlacement = sparse.headPlacement ?? options.headPlacement
    options.seed = synthetic.options.seed
    let longest = (options.depths.max() ?? 0) + options.tokens
    guard longest <= shape.context else {
      throw BackendError.contextExceeded(needed: longest, limit: shape.context)
    }
    var weights = synthetic.options
    weights.groupwise = groupwise.format
    if sparse.hasDensity, synthetic.reluDensity == nil {
      weights.reluDensity = SyntheticSparsity.reluDensity
    }
    let device = try CUDADevice()
    let cuda = CUDAOptions(batchCapacity: 1)
    let model = try SyntheticModel.make(shape: shape, options: weights, on: device, cuda: cuda)
    let backend = try CUDABackend(weights: model, on: device, options: cuda)
    let free = device.freeBytes
    let bar = ProgressBar("measuring", isShown: !output.quiet, unit: .steps)
    var done = 0
    let rows = try CardBench(backend, options: options).run {
      try Interrupt.check()
      bar.update(done: done, of: options.depths.count * options.rounds)
      done += 1
    }
    bar.finish()
    let report = CardReport(
      shape: shape.name, format: weights.formatName, card: device.name,
      weightBytes: model.byteCount,
      freeBytes: free, options: options, rows: rows)
    try StandardOutput.write((output.json ? report.json.description : report.text) + "\n")
  }
}

/// What a card did, for people and for programs.
struct CardReport {
  let shape: String
  /// What weights of blocks are stored in.
  let format: String
  let card: String
  let weightBytes: Int
  /// Of the card's memory, beside weights and working space.
  let freeBytes: Int
  let options: CardBench.Options
  let rows: [CardRow]

  private func speedup(_ row: CardRow) -> Double? {
    guard row.mode == .sparse, let dense = rows.first(where: { $0.depth == row.depth }) else {
      return nil
    }
    return CardRow.median(dense.milliseconds) / CardRow.median(row.milliseconds)
  }

  var text: String {
    var lines = [
      "\(shape) in \(format) on \(card): synthetic weights, \(weightBytes / 1_000_000) MB",
      "sparse: predictors of rank \(options.rank) in \(options.bits) bits, a threshold each; placed "
        + "\(options.headPlacement.rawValue) for heads, \(options.neuronPlacement.rawValue) for neurons",
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
    .object([
      ("schema", .text("dejavu/bench-card/1")), ("shape", .text(shape)),
      ("dtype", .text(format)), ("card", .text(card)), ("synthetic", .bool(true)),
      ("weight_bytes", .whole(weightBytes)), ("free_bytes", .whole(freeBytes)),
      ("rounds", .whole(options.rounds)), ("tokens_per_run", .whole(options.tokens)),
      ("predictor_rank", .whole(options.rank)), ("predictor_bits", .whole(options.bits)),
      ("rule", .text("threshold")), ("neuron_placement", .text(options.neuronPlacement.rawValue)),
      ("head_placement", .text(options.headPlacement.rawValue)),
      ("decode", .array(rows.map(json))),
    ])
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
