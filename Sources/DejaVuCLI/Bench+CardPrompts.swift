import DejaVu
import DejaVuCUDA
import DejaVuCore
import DejaVuEvaluation
import Foundation

/// `dejavu bench --backend cuda --prompt N`: dense prompts on a card.
extension Bench {
  /// Lengths that are asked for; none where decoding is measured instead.
  var cardPrompts: [Int] { WorkloadOptions.unique(workload.prompt) }

  func runCardPrompts(_ shape: ModelShape) throws {
    if let longest = cardPrompts.max(), longest > shape.context {
      throw BackendError.contextExceeded(needed: longest, limit: shape.context)
    }
    var weights = synthetic.options
    groupwise.apply(to: &weights)
    let (device, cuda) = (try CUDADevice(), CUDAOptions())
    let model = try SyntheticModel.make(shape: shape, options: weights, on: device, cuda: cuda)
    let backend = try CUDABackend(weights: model, on: device, options: cuda)
    let bar = ProgressBar("measuring", isShown: !output.quiet, unit: .steps)
    var done = 0
    let rows = try CardPromptBench(
      backend, prompts: cardPrompts, rounds: workload.rounds, seed: weights.seed
    ).run {
      try Interrupt.check()
      bar.update(done: done, of: cardPrompts.count * workload.rounds)
      done += 1
    }
    bar.finish()
    let report = CardPromptReport(
      shape: shape.name, format: weights.formatName, card: device.name,
      weightBytes: model.byteCount, freeBytes: device.freeBytes, batch: cuda.batchCapacity,
      products: ProductLibrary.describe(device.products), rows: rows)
    try StandardOutput.write((output.json ? report.json.description : report.text) + "\n")
  }
}

/// What a card did with prompts, for people and for programs.
struct CardPromptReport {
  let shape: String
  let format: String
  let card: String
  let weightBytes: Int
  /// Of the card's memory, beside everything that prompts take.
  let freeBytes: Int
  /// Tokens that are computed at once.
  let batch: Int
  /// What multiplies.
  let products: String
  let rows: [CardPromptRow]

  var text: String {
    var lines = [
      "\(shape) in \(format) on \(card): synthetic weights, \(weightBytes / 1_000_000) MB",
      "dense prompts, \(batch) tokens at once at most; products by \(products)",
      "  prompt         ms       range   tokens/s   TFLOP/s   of a large product   share",
    ]
    for row in rows {
      let ceiling = row.ceiling.isEmpty ? nil : CardRow.median(row.ceiling)
      lines.append(
        String(
          format: "%8d %10.3f %5.1f-%5.1f %10.0f %9.1f %20@ %7@", row.tokens, row.median,
          row.milliseconds.min() ?? .nan, row.milliseconds.max() ?? .nan,
          Double(row.tokens) / row.median * 1000, row.rate,
          (ceiling.map { String(format: "%.1f", $0) } ?? "-") as NSString,
          (row.share.map { String(format: "%.3f", $0) } ?? "-") as NSString))
    }
    return lines.joined(separator: "\n")
  }

  var json: JSONValue {
    .object([
      ("schema", .text("dejavu/bench-card-prompts/1")), ("shape", .text(shape)),
      ("dtype", .text(format)), ("card", .text(card)), ("synthetic", .bool(true)),
      ("weight_bytes", .whole(weightBytes)), ("free_bytes", .whole(freeBytes)),
      ("batch_tokens", .whole(batch)), ("products", .text(products)),
      ("prompts", .array(rows.map(json))),
    ])
  }

  private func json(_ row: CardPromptRow) -> JSONValue {
    .object([
      ("tokens", .whole(row.tokens)), ("ms", .precise(row.median)),
      ("tokens_per_second", .precise(Double(row.tokens) / row.median * 1000)),
      ("tflop_per_s", .precise(row.rate)),
      (
        "large_product_tflop_per_s",
        row.ceiling.isEmpty ? .null : .precise(CardRow.median(row.ceiling))
      ),
      ("share", row.share.map { .precise($0) } ?? .null),
    ])
  }
}
