package import DejaVu
package import DejaVuCPU
package import DejaVuCUDA
package import DejaVuCore

/// Where a model reads the text, and where predictors take their steps.
///
/// On a card both happen there. What rows contribute is coded by the host all the same, with the
/// processor's threads.
package enum TrainingPlace {
  case cpu(CPUBackend)
  case cuda(CUDABackend)

  /// - Throws: ``BackendError/unavailable(backend:reason:)`` on the reference backend.
  package init(_ engine: Engine) throws(BackendError) {
    if let backend = engine.cpu {
      self = .cpu(backend)
    } else if let backend = engine.cuda {
      self = .cuda(backend)
    } else {
      throw .unavailable(backend: "reference", reason: "training runs on the CPU or on a card only")
    }
  }

  var batchCapacity: Int {
    switch self {
    case .cpu(let backend): backend.batchCapacity
    case .cuda(let backend): backend.batchCapacity
    }
  }

  /// What a result depends on, beside settings, text and model: what reads the text and takes the steps.
  package var name: String {
    switch self {
    case .cpu(let backend): "\(backend.options.instructionSet.rawValue) \(backend.batchCapacity)"
    case .cuda(let backend):
      "\(backend.device.name) \(backend.batchCapacity) \(backend.productsName)"
    }
  }

  /// Products and loops of the host.
  func makeArithmetic(roundsToBFloat16: Bool) throws(BackendError) -> DenseArithmetic {
    switch self {
    case .cpu(let backend): return backend.makeArithmetic(roundsToBFloat16: roundsToBFloat16)
    case .cuda:
      guard let kernels = InstructionSet.best.table else {
        throw .unavailable(backend: "CPU", reason: "it has no kernels for this processor")
      }
      return DenseArithmetic(
        team: try ThreadTeam(threads: LanguageModel.defaultThreads), kernels: kernels,
        roundsToBFloat16: roundsToBFloat16)
    }
  }

  func observe(_ observer: (any StepObserver)?) {
    switch self {
    case .cpu(let backend): backend.observer = observer
    case .cuda(let backend): backend.observer = observer
    }
  }

  func makeTrainer(
    _ arithmetic: DenseArithmetic, sites: [TrainingSite], hidden: Int, batch: Int
  ) throws(BackendError) -> any PredictorTrainer {
    switch self {
    case .cpu:
      LowRankTrainer(arithmetic: arithmetic, sites: sites, hidden: hidden, batch: batch)
    case .cuda(let backend):
      try CardTrainer(backend, sites: sites, hidden: hidden, batch: batch)
    }
  }
}
