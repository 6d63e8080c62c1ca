package import DejaVuCore
import DejaVuFormats

/// Samples of a group in memory.
///
/// Per token its streams, normalised, in half precision, and every row's contribution in a byte.
package final class SampleStore {
  package let tokens: Int
  /// Halves of a stream's row, padded.
  package let width: Int
  private let memory: AnonymousMemory
  private let streamBytes: Int
  /// Where the codes of each site begin, in bytes per token before it.
  private let codeOffsets: [Int]
  private let rows: [Int]

  package init(tokens: Int, group: TrainingGroup, architecture: Architecture) throws(BackendError) {
    self.tokens = tokens
    width = Padding.width(architecture.hidden)
    streamBytes = tokens * width * 2
    rows = group.sites.map(\.rows)
    var offsets: [Int] = []
    var end = group.streams.count * streamBytes
    for site in group.sites {
      offsets.append(end)
      end += tokens * site.rows
    }
    codeOffsets = offsets
    memory = try AnonymousMemory(count: end, what: "samples for training")
  }

  /// Halves of one token's stream.
  package func stream(_ index: Int, token: Int) -> UnsafeMutableRawPointer {
    memory.base + index * streamBytes + token * width * 2
  }

  /// `[rows]` codes of one token at one site.
  package func codes(_ site: Int, token: Int) -> UnsafeMutablePointer<UInt8> {
    (memory.base + codeOffsets[site] + token * rows[site]).assumingMemoryBound(to: UInt8.self)
  }
}
