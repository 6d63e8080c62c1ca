import CDejaVuKernels
package import DejaVuCore

/// Threads that share the work of a block; the caller's thread is one of them.
package final class ThreadTeam {
  package let handle: OpaquePointer
  package let count: Int

  package init(threads: Int) throws(BackendError) {
    guard threads >= 1, threads <= 1024 else {
      throw .unavailable(backend: "CPU", reason: "\(threads) threads were asked for, not 1 to 1024")
    }
    guard let handle = dejavu_team_create(threads) else {
      throw .unavailable(backend: "CPU", reason: "\(threads) threads could not be started")
    }
    self.handle = handle
    count = threads
  }

  deinit { dejavu_team_destroy(handle) }

  /// Runs `body` for every chunk on the team's threads.
  ///
  /// For loading and setup, not for decoding: a closure is called per chunk.
  package func run(chunks: Int, _ body: @Sendable (Int) -> Void) {
    withoutActuallyEscaping(body) { escaping in
      var context = ChunkContext(body: escaping)
      withUnsafeMutablePointer(to: &context) { pointer in
        dejavu_team_run(
          handle,
          { context, chunk, _ in
            context.assumingMemoryBound(to: ChunkContext.self).pointee.body(chunk)
          }, pointer, chunks)
      }
    }
  }
}

private struct ChunkContext {
  let body: @Sendable (Int) -> Void
}
