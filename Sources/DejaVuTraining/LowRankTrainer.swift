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

  /// Weights by code, negatives included, divided so that a minibatch's weights sum to 1.
  ///
  /// - Parameter counts: `[256]`, how often each code stands in the minibatch.
  /// - Returns: `[256]`.
  package func table(counts: [Int]) -> [Float] {
    let split = Int(positive)
    let density =
      Float(counts[split...].reduce(0, +)) / Float(max(counts.reduce(0, +), 1))
    var table = byCode
    for code in 0..<split { table[code] = max(density, 1e-4) }
    var total: Float = 0
    for code in 0..<256 { total += Float(counts[code]) * table[code] }
    return table.map { $0 / max(total, 1e-20) }
  }
}

/// AdamW as predictors are trained with it.
enum AdamW {
  static let beta1: Float = 0.9
  static let beta2: Float = 0.99
  /// Share of themselves that weights lose in a step, times the learning rate; biases do not decay.
  static let decay: Float = 0.01

  /// What the moments lack after so many steps.
  static func corrections(_ steps: Int) -> (first: Float, second: Float) {
    (1 - powf(beta1, Float(steps)), 1 - powf(beta2, Float(steps)))
  }
}

/// Trains predictors, one step at a time; where products are done is its own business.
package protocol PredictorTrainer: AnyObject {
  /// Room for the normalised stream of a minibatch's token, `[width]`.
  func stream(_ token: Int) -> UnsafeMutablePointer<Float>
  /// `[batch, rows]`, contribution codes of the minibatch.
  var codes: UnsafeMutablePointer<UInt8> { get }
  /// `[rows]`, what ``forward(_:tokens:)`` gave a token.
  func scores(_ token: Int) -> UnsafePointer<Float>
  /// Computes the logits of the first `tokens` streams.
  func forward(_ model: LowRankModel, tokens: Int)
  /// One step on the first `tokens` streams and their codes.
  ///
  /// - Parameters:
  ///   - model: what is trained.
  ///   - tokens: how many streams and rows of codes are filled in.
  ///   - weights: how rows count.
  ///   - learningRate: of AdamW.
  /// - Returns: the weighted mean loss of the first few tokens, before the step.
  func step(
    _ model: LowRankModel, tokens: Int, weights: RowWeights, learningRate: Float
  ) -> Double
  /// Brings into `model` what steps have changed elsewhere.
  ///
  /// - Throws: ``BackendError`` where a step has failed.
  func settle(_ model: LowRankModel) throws
  /// Whether steps happen elsewhere and leave models as they were settled.
  var leavesModels: Bool { get }

  /// A model without moments that can visit: its values are the caller's to change.
  ///
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  func makeVisitor(for site: TrainingSite, hidden: Int) throws -> LowRankModel
  /// Takes notice that values of a visitor were changed.
  func reload(_ visitor: LowRankModel)
  /// The values of `model` after its last step; `model` itself where that has them, else `visitor`,
  /// which gets them.
  ///
  /// - Throws: ``BackendError`` where a step has failed.
  func latest(_ model: LowRankModel, in visitor: LowRankModel) throws -> LowRankModel
}

/// One step of Algorithm 1: weighted binary cross-entropy and AdamW, for one predictor at a time.
///
/// The gradient of the logits is G = w · (σ(z) − y) / Σ w; with H = X Aᵀ, dB = Gᵀ H and
/// dA = (G B)ᵀ X.
package final class LowRankTrainer: PredictorTrainer {
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

  package func stream(_ token: Int) -> UnsafeMutablePointer<Float> { x.row(token) }
  package func scores(_ token: Int) -> UnsafePointer<Float> { UnsafePointer(logits.row(token)) }
  package func settle(_ model: LowRankModel) {}
  package var leavesModels: Bool { false }
  package func makeVisitor(for site: TrainingSite, hidden: Int) -> LowRankModel {
    let count = LowRankModel.count(rank: site.rank, hidden: hidden, rows: site.rows)
    return LowRankModel(
      rank: site.rank, hidden: hidden, rows: site.rows,
      visiting: CPUBuffer(capacity: 1, width: count))
  }
  package func reload(_ visitor: LowRankModel) {}
  package func latest(_ model: LowRankModel, in visitor: LowRankModel) -> LowRankModel { model }

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

  private func weightTable(
    _ model: LowRankModel, tokens: Int, weights: RowWeights
  ) -> [Float] {
    var counts = [Int](repeating: 0, count: 256)
    for i in 0..<tokens * model.rows { counts[Int(codes[i])] += 1 }
    return weights.table(counts: counts)
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
    let (beta1, beta2) = (AdamW.beta1, AdamW.beta2)
    let (correction1, correction2) = AdamW.corrections(model.steps)
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
        let decay = i < decaying ? learningRate * AdamW.decay * values[i] : 0
        values[i] -= decay + rate * first[i] / ((second[i] / correction2).squareRoot() + 1e-12)
      }
    }
  }
}
