import Dispatch
import DejaVuCPU
import DejaVuCUDA
public import DejaVuCore
import DejaVuFormats
import DejaVuModels
public import DejaVuTokenizers

/// A token's number in the vocabulary.
public typealias TokenID = Int32

/// A language model that is ready to continue text.
///
/// Safe to share between tasks: texts are generated one at a time, on the model's own thread.
public final class LanguageModel: @unchecked Sendable {
  // Safe to share: the engine is touched on `queue` only, everything else is constant.
  /// The model's own; every id that it gives has logits.
  public let tokenizer: any Tokenizer
  package let loaded: LoadedModel
  package let engine: Engine
  private let queue = DispatchQueue(label: "dejavu.engine")

  /// Loads a model folder: a Hugging Face checkpoint, or one written by `dejavu pack`.
  ///
  /// - Parameters:
  ///   - path: the folder.
  ///   - threads: threads that compute; nil takes as many as the machine has cores.
  ///   - progress: called while a checkpoint is packed.
  /// - Throws: ``CheckpointError``, ``TokenizerError`` or ``BackendError``.
  public convenience init(
    path: String, threads: Int? = nil, progress: (LoadingProgress) -> Void = { _ in }
  ) throws {
    let options = CPUOptions(threads: threads ?? Self.defaultThreads)
    try self.init(path: path, backend: .cpu(options), progress: progress)
  }

  /// Loads a model folder for a backend.
  public init(
    path: String, backend: BackendChoice, progress: (LoadingProgress) -> Void = { _ in }
  ) throws {
    try FileSystem.requireFolder(path)
    tokenizer = try loadTokenizer(folder: path)
    let threads = if case .cpu(let options) = backend { options.threads } else { 1 }
    loaded = try ModelFolder.load(
      path, team: try ThreadTeam(threads: threads), progress: progress)
    engine = try Engine(model: loaded.model, backend: backend)
    guard tokenizer.vocabularyCount <= loaded.model.architecture.vocabulary else {
      throw TokenizerModelMismatch(
        tokens: tokenizer.vocabularyCount, logits: loaded.model.architecture.vocabulary)
    }
  }

  /// Cores of this machine, at most 64.
  public static var defaultThreads: Int {
    min(max(ProcessorCount.available, 1), 64)
  }

  /// Where the model runs: `cpu`, `reference`, or the card's name.
  package var backendName: String {
    if let cuda = engine.cuda { return cuda.device.name }
    return engine.cpu == nil ? "reference" : "cpu"
  }

  /// Whether steps round activations: on the processor, where they meet groupwise rows.
  package var roundsActivations: Bool { engine.cpu != nil && loaded.model.isGroupwise }

  /// What the model's makers wrote about it.
  public var architecture: Architecture { loaded.model.architecture }

  /// Continues `prompt`, piece by piece.
  ///
  /// The stream ends when the model ends its text, a stop string comes up, or the tokens asked for
  /// are spent. Cancelling the task that reads it stops the computation at the next token, or at the
  /// next batch of the prompt.
  public func generate(
    _ prompt: String, options: GenerationOptions = GenerationOptions()
  ) -> AsyncThrowingStream<String, any Error> {
    AsyncThrowingStream { continuation in
      let cancelled = CancellationFlag()
      continuation.onTermination = { _ in cancelled.set() }
      queue.async {
        do {
          let generator = TextGenerator(model: self)
          _ = try generator.run(
            prompt: prompt, options: options, isCancelled: { cancelled.isSet }
          ) { piece in
            continuation.yield(piece)
            return true
          }
          continuation.finish()
        } catch {
          continuation.finish(throwing: error)
        }
      }
    }
  }
}

/// The tokenizer can produce ids that the model has no logits for.
public struct TokenizerModelMismatch: Error, Hashable, Sendable, CustomStringConvertible {
  /// Ids that the tokenizer can give.
  public let tokens: Int
  /// Ids that the model can read and produce; fewer than `tokens`.
  public let logits: Int

  /// One sentence with both numbers, for people.
  public var description: String {
    "the tokenizer has \(tokens) tokens but the model has \(logits) logits; "
      + "their files belong to different models"
  }
}
