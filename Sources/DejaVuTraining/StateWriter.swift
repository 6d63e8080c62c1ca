import Dispatch
package import DejaVuFormats

/// Writes one state at a time, beside the training.
package final class StateWriter: @unchecked Sendable {
  // Safe to share: what the queue writes is read only when it is idle.
  private let queue = DispatchQueue(label: "dejavu.training-state")
  private var failure: CheckpointError?
  private var seconds = 0.0

  package init() {}

  /// Begins to write; nothing that `write` reads may change before ``finish()``.
  package func begin(_ write: @escaping @Sendable () throws(CheckpointError) -> Void) {
    queue.async {
      let start = ContinuousClock.now
      do throws(CheckpointError) {
        try write()
      } catch {
        self.failure = error
      }
      self.seconds = (ContinuousClock.now - start) / .seconds(1)
    }
  }

  /// Returns when nothing is being written any more.
  package func wait() { queue.sync {} }

  /// As ``wait()``.
  ///
  /// - Returns: how many seconds the last writing took.
  /// - Throws: what ended a writing since this was asked last.
  @discardableResult
  package func finish() throws(CheckpointError) -> Double {
    wait()
    if let failure {
      self.failure = nil
      throw failure
    }
    return seconds
  }
}
