public import DejaVuCPU
public import DejaVuCUDA
package import DejaVuCore
package import DejaVuModels
import DejaVuReference

/// Where a model runs.
public enum BackendChoice: Hashable, Sendable {
  /// Kernels on the processor's threads.
  case cpu(CPUOptions)
  /// Kernels on an NVIDIA card; shadows of sparse plans are made by the processor's threads.
  case cuda(CUDAOptions)
  /// Plain loops, the definition of every verb: correct and slow.
  case reference
}

/// A packed model on a backend, erased: the only place that names one.
///
/// Not thread-safe: one step at a time.
package final class Engine {
  package let model: PackedModel
  package let backend: BackendChoice
  private let runner: Runner
  private var shadowBackend: CPUBackend?

  private enum Runner {
    case cpu(Decoder<CPUBackend>)
    case cuda(Decoder<CUDABackend>)
    case reference(Decoder<ReferenceBackend>)
  }

  package init(model: PackedModel, backend: BackendChoice) throws(BackendError) {
    self.model = model
    self.backend = backend
    switch backend {
    case .cpu(let options):
      runner = .cpu(Decoder(backend: try CPUBackend(model: model, options: options)))
    case .cuda(let options):
      let device = try CUDADevice()
      let weights = try DeviceModel(uploading: model, to: device)
      runner = .cuda(
        Decoder(backend: try CUDABackend(weights: weights, on: device, options: options)))
    case .reference:
      runner = .reference(Decoder(backend: ReferenceBackend(model: model)))
    }
  }

  /// An engine on a card that was made ready elsewhere.
  package init(model: PackedModel, card: CUDABackend) {
    self.model = model
    backend = .cuda(card.options)
    runner = .cuda(Decoder(backend: card))
  }

  /// A new sequence with room for `capacity` positions.
  ///
  /// - Throws: ``BackendError/contextExceeded(needed:limit:)`` past the model's context.
  package func makeSession(
    capacity: Int, mode: RunMode = .dense, sparsity: Sparsity? = nil, defersKeys: Bool = true
  ) throws(BackendError) -> any Session {
    let limit = model.architecture.context
    guard capacity <= limit else { throw .contextExceeded(needed: capacity, limit: limit) }
    switch runner {
    case .cpu(let decoder):
      return try DecoderSession(
        decoder: decoder, capacity: capacity, mode: mode, sparsity: sparsity,
        defersKeys: defersKeys)
    case .cuda(let decoder):
      return try DecoderSession(
        decoder: decoder, capacity: capacity, mode: mode, sparsity: sparsity,
        defersKeys: defersKeys)
    case .reference(let decoder):
      return try DecoderSession(
        decoder: decoder, capacity: capacity, mode: mode, sparsity: sparsity,
        defersKeys: defersKeys)
    }
  }

  /// The CPU backend, where the engine runs on it: benchmarks measure its memory with its threads.
  package var cpu: CPUBackend? {
    if case .cpu(let decoder) = runner { decoder.backend } else { nil }
  }

  /// The card's backend, where the engine runs on one.
  package var cuda: CUDABackend? {
    if case .cuda(let decoder) = runner { decoder.backend } else { nil }
  }

  /// Threads that make shadows of the weights, on whatever backend the engine runs; they live as
  /// long as the engine, and so does what they made.
  package func shadowMaker() throws(BackendError) -> ShadowMaker? {
    switch runner {
    case .cpu(let decoder): return ShadowMaker(backend: decoder.backend)
    case .reference: return nil
    case .cuda:
      if shadowBackend == nil {
        let options = CPUOptions(threads: LanguageModel.defaultThreads, batchCapacity: 1)
        shadowBackend = try CPUBackend(model: model, options: options)
      }
      return shadowBackend.map { ShadowMaker(backend: $0) }
    }
  }
}
