package import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import DejaVuModels

/// Writes what every layer's MLP reads, before its norm, while the model runs dense: for studies of
/// choosers outside this program.
///
/// A safetensors file of float32 tensors `mlp_input.<layer>`, `[tokens, D]`, in the text's order. The
/// windows are read once for each layer, so that no more than a batch is held.
package struct StreamDump {
  private let backend: CPUBackend
  private let engine: Engine
  private let windows: [[TokenID]]

  /// - Returns: nil where the engine does not run on the CPU.
  package init?(engine: Engine, windows: [[TokenID]]) {
    guard let backend = engine.cpu else { return nil }
    self.engine = engine
    self.backend = backend
    self.windows = windows
  }

  /// Tokens that are written; a last batch of a single token is not shown to observers.
  package var tokens: Int {
    windows.reduce(0) { sum, window in
      sum + window.count - (window.count % backend.batchCapacity == 1 ? 1 : 0)
    }
  }

  /// - Parameters:
  ///   - path: the file, replaced when all is written.
  ///   - fingerprint: of the model, kept in the file's header.
  ///   - progress: called with the tokens of every batch that is done.
  /// - Throws: ``CheckpointError`` where the file cannot be written, ``BackendError``.
  package func write(to path: String, fingerprint: String, progress: (Int) -> Void) throws {
    let a = engine.model.architecture
    let writer = try SafetensorsWriter(
      path: path,
      tensors: (0..<a.layers).map {
        SafetensorsDeclaration(
          name: "mlp_input.\($0)", type: .float32, shape: [tokens, a.hidden])
      }, metadata: ["format": "dejavu/streams/1", "fingerprint": fingerprint])
    let session = try engine.makeSession(capacity: windows.map(\.count).max() ?? 0)
    for layer in 0..<a.layers {
      let copier = RowCollector(layer: layer, width: a.hidden)
      var failure: CheckpointError?
      try backend.watch(
        session, reading: windows, batch: backend.batchCapacity, with: copier
      ) { count in
        do throws(CheckpointError) {
          if failure == nil { try writer.append(copier.take(), to: "mlp_input.\(layer)") }
        } catch { failure = error }
        progress(count)
      }
      if let failure { throw failure }
    }
    try writer.finish()
  }
}

/// Copies the rows of one layer's stream.
private final class RowCollector: StepObserver {
  private let layer: Int
  private let width: Int
  private var rows: [Float] = []

  init(layer: Int, width: Int) {
    self.layer = layer
    self.width = width
  }

  func take() -> [Float] {
    defer { rows.removeAll(keepingCapacity: true) }
    return rows
  }

  func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    guard site == .mlpInput, layer == self.layer else { return }
    for t in 0..<tokens {
      rows.append(contentsOf: UnsafeBufferPointer(start: values + t * stride, count: width))
    }
  }
}
