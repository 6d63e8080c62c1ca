import CDejaVuCUDA
import DejaVuCore

/// What one block of a step did; the card's counters say how much of it.
enum BlockNote {
  /// One token's attention over `seen` positions.
  case heads(layer: Int, seen: Int, ranked: CUDARows?)
  /// Listed groups of a prompt.
  case headRows(layer: Int)
  /// One token's MLP; `skips` leaves out down rows of zeros.
  case neurons(layer: Int, skips: Bool, ranked: CUDARows?)
  /// Listed neurons of a prompt.
  case neuronRows(layer: Int)
}

extension BlockNote {
  /// Whether lists say what was computed.
  var isRanked: Bool {
    switch self {
    case .heads(_, _, let ranked): ranked != nil
    case .neurons(_, _, let ranked): ranked != nil
    case .headRows, .neuronRows: false
    }
  }
}

extension CUDABackend {
  /// Adds a finished step to the tally.
  func count(_ notes: [BlockNote]) {
    for note in notes {
      switch note {
      case .heads(let layer, let seen, let ranked):
        countHeads(layer: layer, seen: seen, ranked: ranked)
      case .headRows(let layer): tally.headRows += scratch.counter(layer: layer, 0)
      case .neurons(let layer, let skips, let ranked):
        countNeurons(layer: layer, skips: skips, ranked: ranked)
      case .neuronRows(let layer): tally.neuronRows += scratch.counter(layer: layer, 4)
      }
    }
  }

  private func countHeads(layer: Int, seen: Int, ranked: CUDARows?) {
    let (a, weights) = (architecture, model.layers[layer])
    let read = scratch.counter(layer: layer, 0)
    let chosen = ranked.map { $0.list(of: 0).count } ?? read
    // Queries of all that were computed, output rows of those that were added.
    let (queries, outputs) = (
      read * a.headsPerGroup * a.headWidth, chosen * a.headsPerGroup * a.headWidth
    )
    tally.attentionWeights += queries * weights.query.rowBytes + outputs * weights.output.rowBytes
    tally.weightFlops += 2 * (queries + outputs) * a.hidden
    tally.cacheFlops += 2 * 2 * queries * seen
    tally.cache += read * 2 * seen * cacheLayout.paddedHead * cacheLayout.dtype.size
    tally.headRows += chosen
    let (groups, owed) = (scratch.counter(layer: layer, 1), scratch.counter(layer: layer, 2))
    tally.attentionWeights += groups * 2 * a.headWidth * weights.key.rowBytes
    tally.weightFlops += (groups + owed) * 2 * 2 * a.headWidth * a.hidden
    tally.keptInputs += scratch.counter(layer: layer, 3) * cacheLayout.keptBytes
  }

  private func countNeurons(layer: Int, skips: Bool, ranked: CUDARows?) {
    let bundle = model.layers[layer].bundle
    let (read, nonzero) = (scratch.counter(layer: layer, 4), scratch.counter(layer: layer, 5))
    let chosen = ranked.map { $0.list(of: 0).count } ?? read
    // Of a ranked choice the zeros among the chosen are not counted apart: at most `chosen`.
    let down = ranked == nil ? (skips ? nonzero : read) : min(chosen, nonzero)
    let rows = read * (bundle.rowsPerNeuron - 1) + down
    tally.mlpWeights += rows * bundle.matrix.rowBytes
    tally.weightFlops += 2 * rows * architecture.hidden
    tally.neuronRows += chosen
  }
}
