import DejaVuCPU
package import DejaVuCUDA
package import DejaVuCore

/// The steps of ``LowRankTrainer`` on a card.
///
/// A model that has taken a step lives on the card from then on, moments and all; ``settle(_:)`` copies it
/// to the host, ``latest(_:in:)`` its values alone. Others visit for their logits, one of each shape.
package final class CardTrainer: PredictorTrainer {
  private let trainer: DeviceTrainer
  private let device: CUDADevice
  /// Padded width of the stream.
  private let width: Int
  /// Models are kept, so that no other one can take their identity.
  private var residents: [ObjectIdentifier: (model: LowRankModel, predictor: DevicePredictor)] = [:]
  private var visitors: [PredictorShape: (model: LowRankModel, predictor: DevicePredictor)] = [:]
  /// Floats from one token's logits to the next.
  private var scoreStride = 0
  private var shortage: BackendError?

  /// - Parameters:
  ///   - backend: whose card and kernels are used.
  ///   - sites: the predictors that will be trained.
  ///   - hidden: width of the stream.
  ///   - batch: tokens of a minibatch at most.
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  package init(
    _ backend: CUDABackend, sites: [TrainingSite], hidden: Int, batch: Int
  ) throws(BackendError) {
    device = backend.device
    let width = Padding.width(hidden)
    self.width = width
    trainer = try DeviceTrainer(
      backend,
      shapes: sites.map {
        PredictorShape(
          rank: $0.rank, width: width, rows: $0.rows, paddedRows: Padding.width($0.rows))
      }, batch: batch)
  }

  package func stream(_ token: Int) -> UnsafeMutablePointer<Float> {
    trainer.streams + token * width
  }
  package var codes: UnsafeMutablePointer<UInt8> { trainer.codes }
  package func scores(_ token: Int) -> UnsafePointer<Float> {
    UnsafePointer(trainer.logits + token * scoreStride)
  }

  package func forward(_ model: LowRankModel, tokens: Int) {
    guard let predictor = residents[ObjectIdentifier(model)]?.predictor ?? visiting(model) else {
      return
    }
    trainer.forward(predictor, tokens: tokens)
    trainer.fetchLogits(predictor, tokens: tokens)
    scoreStride = model.paddedRows
  }

  package func step(
    _ model: LowRankModel, tokens: Int, weights: RowWeights, learningRate: Float
  ) -> Double {
    guard let predictor = resident(model) else { return .nan }
    trainer.forward(predictor, tokens: tokens)
    let loss = differentiate(predictor, tokens: tokens, weights: weights)
    model.steps += 1
    let corrections = AdamW.corrections(model.steps)
    trainer.update(
      predictor,
      by: DeviceTrainer.Step(
        rate: learningRate / corrections.first, decay: learningRate * AdamW.decay,
        beta1: AdamW.beta1, beta2: AdamW.beta2, correction: corrections.second))
    return loss
  }

  private func differentiate(
    _ predictor: DevicePredictor, tokens: Int, weights: RowWeights
  ) -> Double {
    let counts = trainer.countCodes(predictor, tokens: tokens)
    let sums = trainer.differentiate(
      predictor, tokens: tokens, table: weights.table(counts: counts), positive: weights.positive,
      shown: min(tokens, LowRankTrainer.lossTokens))
    return sums.loss / max(sums.weight, 1e-300)
  }

  /// The loss before any step, and its gradient laid out as the model's values: for tests.
  package func gradient(
    _ model: LowRankModel, tokens: Int, weights: RowWeights
  ) -> (loss: Double, values: [Float]) {
    guard let predictor = resident(model) else { return (.nan, []) }
    trainer.forward(predictor, tokens: tokens)
    let loss = differentiate(predictor, tokens: tokens, weights: weights)
    return (loss, trainer.fetchGradient(predictor))
  }

  private func throwFailure() throws(BackendError) {
    if let shortage { throw shortage }
    try trainer.throwFailure()
  }

  package func settle(_ model: LowRankModel) throws {
    try throwFailure()
    guard let predictor = residents[ObjectIdentifier(model)]?.predictor else { return }
    try predictor.fetch(
      values: model.values.base, first: model.first.base, second: model.second.base)
  }

  package var leavesModels: Bool { true }

  // Where models are ------------------------------------------------------------------------------

  package func makeVisitor(for site: TrainingSite, hidden: Int) throws -> LowRankModel {
    let count = LowRankModel.count(rank: site.rank, hidden: hidden, rows: site.rows)
    let memory = try trainer.makeFloats(count)
    return LowRankModel(
      rank: site.rank, hidden: hidden, rows: site.rows,
      visiting: CPUBuffer(base: memory.base, width: count, owner: memory.owner))
  }

  package func reload(_ visitor: LowRankModel) {
    guard let known = visitors[visitor.shape], known.model === visitor else { return }
    known.predictor.assign(visitor.values.base)
  }

  package func latest(_ model: LowRankModel, in visitor: LowRankModel) throws -> LowRankModel {
    try throwFailure()
    guard let predictor = residents[ObjectIdentifier(model)]?.predictor else { return model }
    precondition(visitor.shape == model.shape, "a visitor of another shape")
    try predictor.fetch(values: visitor.values.base)
    return visitor
  }

  private func resident(_ model: LowRankModel) -> DevicePredictor? {
    if let known = residents[ObjectIdentifier(model)] { return known.predictor }
    let moments: PredictorMoments =
      model.steps == 0
      ? .zeros
      : .floats(
        first: UnsafePointer(model.first.base), second: UnsafePointer(model.second.base))
    guard let predictor = upload(model, moments) else { return nil }
    residents[ObjectIdentifier(model)] = (model, predictor)
    return predictor
  }

  /// A model that takes no steps: the last one of its shape stays, since its tokens come in several
  /// minibatches.
  private func visiting(_ model: LowRankModel) -> DevicePredictor? {
    if let known = visitors[model.shape] {
      if known.model !== model { known.predictor.assign(model.values.base) }
      visitors[model.shape] = (model, known.predictor)
      return known.predictor
    }
    guard let predictor = upload(model, .none) else { return nil }
    visitors[model.shape] = (model, predictor)
    return predictor
  }

  /// Steps do not throw: a failure is kept for ``settle(_:)`` and ``latest(_:in:)``.
  private func upload(_ model: LowRankModel, _ moments: PredictorMoments) -> DevicePredictor? {
    do throws(BackendError) {
      return try DevicePredictor(
        device, shape: model.shape, values: model.values.base, moments: moments)
    } catch {
      if shortage == nil { shortage = error }
      return nil
    }
  }
}

extension LowRankModel {
  var shape: PredictorShape {
    PredictorShape(rank: rank, width: width, rows: rows, paddedRows: paddedRows)
  }
}
