package import DejaVuCPU
import DejaVuCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// How rows count in the loss, by their contributions' codes.
package struct RowWeights: Sendable {
  /// The least code of a positive row.
  package let positive: UInt8
  /// Weight of a positive row by its code; negative rows weigh as the batch's density says.
  package let byCode: [Float]

  /// Weighs positives by a power of their contribution.
  ///
  /// - Parameters:
  ///   - positive: the least code of a positive row.
  ///   - massPower: 0 weighs all positives alike, as the paper does; 1 by contribution.
  package init(positive: UInt8, massPower: Float) {
    self.positive = positive
    byCode = ContributionCode.mass.enumerated().map { code, mass in
      code < Int(positive) ? 0 : min(powf(max(mass, 1e-3), massPower), 16)
    }
  }
}

/// One step of Algorithm 1: weighted binary cross-entropy and AdamW, for one predictor at a time.
///
/// The gradient of the logits is G = w · (σ(z) − y) / Σ w; with H = X Aᵀ, dB = Gᵀ H and
/// dA = (G B)ᵀ X.
package final class LowRankTrainer {
  private let arithmetic: DenseArithmetic
  private let batch: Int
  /// `[batch, width]`, normalised streams of a minibatch.
  package let x: CPUBuffer
  /// `[batch, rows]`, contribution codes beside them.
  package let codes: UnsafeMutablePointer<UInt8>
  private let inner: CPUBuffer
  private let innerGradient: CPUBuffer
  private let transposed: CPUBuffer
  package let logits: CPUBuffer
  private let gradient: CPUBuffer
  static let decay: Float = 0.01
  /// Tokens of a minibatch whose loss is computed; it is shown, not needed.
  package static let lossTokens = 16

  package init(arithmetic: DenseArithmetic, sites: [TrainingSite], hidden: Int, batch: Int) {
    self.arithmetic = arithmetic
    self.batch = batch
    let rank = sites.map(\.rank).max() ?? 64
    let rows = Padding.width(sites.map(\.rows).max() ?? 1)
    x = CPUBuffer(capacity: batch, width: hidden)
    codes = .allocate(capacity: batch * rows)
    codes.initialize(repeating: 0, count: batch * rows)
    inner = CPUBuffer(capacity: batch, width: rank)
    innerGradient = CPUBuffer(capacity: batch, width: rank)
    transposed = CPUBuffer(capacity: rank, width: batch)
    logits = CPUBuffer(capacity: batch, width: rows)
    let count = sites.map { site in
      site.rank * (Padding.width(hidden) + Padding.width(site.rows)) + Padding.width(site.rows)
    }.max()
    gradient = CPUBuffer(capacity: 1, width: count ?? 1)
  }

  deinit { codes.deallocate() }

  /// logits[t] = B · A · x[t] + bias, for the first `tokens` of `x`.
  package func forward(_ model: LowRankModel, tokens: Int) {
    arithmetic.pack(x.base, stride: x.stride, rows: tokens, columns: model.width)
    arithmetic.multiply(
      rows: model.a, count: model.rank, stride: model.width, into: inner.base, stride: inner.stride)
    arithmetic.pack(inner.base, stride: inner.stride, rows: tokens, columns: model.rank)
    arithmetic.multiply(
      columns: model.b, count: model.paddedRows, stride: model.paddedRows, into: logits.base,
      stride: logits.stride)
    nonisolated(unsafe) let (logits, bias) = (logits, model.bias)
    let count = model.rows
    arithmetic.run(chunks: tokens) { t in
      let row = logits.row(t)
      for i in 0..<count { row[i] += bias[i] }
    }
  }

  /// One step on `x` and `codes`.
  ///
  /// - Parameters:
  ///   - model: what is trained.
  ///   - tokens: how many rows of `x` and `codes` are filled.
  ///   - weights: how rows count.
  ///   - learningRate: of AdamW.
  /// - Returns: the weighted mean loss of the first few tokens, before the step.
  package func step(
    _ model: LowRankModel, tokens: Int, weights: RowWeights, learningRate: Float
  ) -> Double {
    forward(model, tokens: tokens)
    let loss = backward(model, tokens: tokens, weights: weights)
    update(model, learningRate: learningRate)
    return loss
  }

  /// Fills the gradient from the logits that ``forward(_:tokens:)`` left.
  package func backward(_ model: LowRankModel, tokens: Int, weights: RowWeights) -> Double {
    let table = weightTable(model, tokens: tokens, weights: weights)
    let loss = loss(
      model, tokens: min(tokens, Self.lossTokens), table: table, positive: weights.positive)
    differentiate(model, tokens: tokens, table: table, positive: weights.positive)
    transpose(inner, tokens: tokens, rank: model.rank)
    arithmetic.pack(
      transposed.base, stride: transposed.stride, rows: model.rank, columns: tokens)
    arithmetic.multiply(
      columns: logits.base, count: model.paddedRows, stride: logits.stride,
      into: gradient.base + model.rank * model.width, stride: model.paddedRows)
    arithmetic.pack(logits.base, stride: logits.stride, rows: tokens, columns: model.paddedRows)
    arithmetic.multiply(
      rows: model.b, count: model.rank, stride: model.paddedRows, into: innerGradient.base,
      stride: innerGradient.stride)
    transpose(innerGradient, tokens: tokens, rank: model.rank)
    arithmetic.pack(
      transposed.base, stride: transposed.stride, rows: model.rank, columns: tokens)
    arithmetic.multiply(
      columns: x.base, count: model.width, stride: x.stride, into: gradient.base,
      stride: model.width)
    return loss
  }

  /// The gradient of the last ``backward(_:tokens:weights:)``, laid out as the model's values.
  package var gradients: UnsafePointer<Float> { UnsafePointer(gradient.base) }

  /// Weights by code, negatives included, divided so that the batch's weights sum to 1.
  private func weightTable(
    _ model: LowRankModel, tokens: Int, weights: RowWeights
  ) -> [Float] {
    var counts = [Int](repeating: 0, count: 256)
    for i in 0..<tokens * model.rows { counts[Int(codes[i])] += 1 }
    let split = Int(weights.positive)
    let positives = counts[split...].reduce(0, +)
    let density = Float(positives) / Float(tokens * model.rows)
    var table = weights.byCode
    for code in 0..<split { table[code] = max(density, 1e-4) }
    var total: Float = 0
    for code in 0..<256 { total += Float(counts[code]) * table[code] }
    return table.map { $0 / max(total, 1e-20) }
  }

  /// Replaces the logits by the loss' gradient, and sums the bias' gradient.
  private func differentiate(
    _ model: LowRankModel, tokens: Int, table: [Float], positive: UInt8
  ) {
    nonisolated(unsafe) let (logits, codes) = (logits, codes)
    let (rows, padded, loops) = (model.rows, model.paddedRows, arithmetic.loops)
    arithmetic.run(chunks: tokens) { t in
      let (row, code) = (logits.row(t), codes + t * rows)
      for i in 0..<rows { row[i] = -row[i] }
      loops.exponentiate(row, count: rows)
      table.withUnsafeBufferPointer { table in
        for i in 0..<rows {
          let target: Float = code[i] >= positive ? 1 : 0
          row[i] = (1 / (1 + row[i]) - target) * table[Int(code[i])]
        }
      }
      for i in rows..<padded { row[i] = 0 }
    }
    nonisolated(unsafe) let sums = gradient.base + model.rank * (model.width + padded)
    arithmetic.run(chunks: (padded + 255) / 256) { chunk in
      let lanes = chunk * 256..<min((chunk + 1) * 256, padded)
      for i in lanes { sums[i] = 0 }
      for t in 0..<tokens {
        let row = logits.row(t)
        for i in lanes { sums[i] += row[i] }
      }
    }
  }

  /// Σ w · (softplus(z) − y z) over the first tokens, relative to their share of the weights.
  func loss(
    _ model: LowRankModel, tokens: Int, table: [Float], positive: UInt8
  ) -> Double {
    var (sum, total) = (0.0, 0.0)
    for t in 0..<tokens {
      let row = logits.row(t)
      for i in 0..<model.rows {
        let code = codes[t * model.rows + i]
        let (z, weight) = (Double(row[i]), Double(table[Int(code)]))
        sum += weight * (max(z, 0) + log1p(exp(-abs(z))) - (code >= positive ? z : 0))
        total += weight
      }
    }
    return sum / max(total, 1e-300)
  }

  private func transpose(_ source: CPUBuffer, tokens: Int, rank: Int) {
    for t in 0..<tokens {
      let row = source.row(t)
      for i in 0..<rank { transposed.row(i)[t] = row[i] }
    }
  }

  /// AdamW; biases do not decay.
  private func update(_ model: LowRankModel, learningRate: Float) {
    model.steps += 1
    let (beta1, beta2): (Float, Float) = (0.9, 0.99)
    let correction1 = 1 - powf(beta1, Float(model.steps))
    let correction2 = 1 - powf(beta2, Float(model.steps))
    nonisolated(unsafe) let (values, first, second, gradient) = (
      model.values.base, model.first.base, model.second.base, gradient.base
    )
    let (count, decaying) = (model.count, model.rank * (model.width + model.paddedRows))
    let rate = learningRate / correction1
    let piece = 1 << 16
    arithmetic.run(chunks: (count + piece - 1) / piece) { chunk in
      let range = chunk * piece..<min((chunk + 1) * piece, count)
      for i in range {
        let g = gradient[i]
        first[i] = beta1 * first[i] + (1 - beta1) * g
        second[i] = beta2 * second[i] + (1 - beta2) * g * g
        let decay = i < decaying ? learningRate * Self.decay * values[i] : 0
        values[i] -= decay + rate * first[i] / ((second[i] / correction2).squareRoot() + 1e-12)
      }
    }
  }
}
