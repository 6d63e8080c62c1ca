import DejaVuCPU
package import DejaVuCUDA
package import DejaVuCore

/// The steps of ``LowRankTrainer`` on a card.
///
/// A model that has taken a step lives on the card, moments and all, until ``settle(_:)`` brings it
/// back; others visit for their logits.
package final class CardTrainer: PredictorTrainer {
  private let trainer: DeviceTrainer
  private let device: CUDADevice
  /// Padded width of the stream.
  private let width: Int
  /// Models are kept, so that no other one can take their identity.
  private var residents: [ObjectIdentifier: (model: LowRankModel, predictor: DevicePredictor)] = [:]
  private var visitor: (model: LowRankModel, predictor: DevicePredictor)?
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

  package func settle(_ model: LowRankModel) throws {
    if let shortage { throw shortage }
    try trainer.throwFailure()
    guard let predictor = residents[ObjectIdentifier(model)]?.predictor else { return }
    try predictor.fetch(
      values: model.values.base, first: model.first.base, second: model.second.base)
  }

  // Where models are ------------------------------------------------------------------------------

  private func resident(_ model: LowRankModel) -> DevicePredictor? {
    if let known = residents[ObjectIdentifier(model)] { return known.predictor }
    guard let predictor = upload(model) else { return nil }
    residents[ObjectIdentifier(model)] = (model, predictor)
    return predictor
  }

  /// A model that takes no steps: the last one stays, since its tokens come in several minibatches.
  private func visiting(_ model: LowRankModel) -> DevicePredictor? {
    if let visitor, visitor.model === model { return visitor.predictor }
    visitor = nil
    guard let predictor = upload(model) else { return nil }
    visitor = (model, predictor)
    return predictor
  }

  /// Steps do not throw: a failure is kept for ``settle(_:)``.
  private func upload(_ model: LowRankModel) -> DevicePredictor? {
    do throws(BackendError) {
      return try DevicePredictor(
        device,
        shape: PredictorShape(
          rank: model.rank, width: model.width, rows: model.rows, paddedRows: model.paddedRows),
        values: model.values.base, first: model.first.base, second: model.second.base)
    } catch {
      if shortage == nil { shortage = error }
      return nil
    }
  }
}
