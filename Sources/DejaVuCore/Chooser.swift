/// Rows of a chooser: codes of a symmetric ``GroupwiseFormat`` in groups of 64, one row behind the other.
package struct GroupwiseMatrix: @unchecked Sendable {
  // Safe to share: the memory is never written after quantizing.
  package let base: UnsafeRawPointer
  /// 2, 4 or 8 bits.
  package let format: GroupwiseFormat
  package let rows: Int
  /// A multiple of 64; rows are padded to whole blocks.
  package let columns: Int
  /// Keeps the memory alive.
  package let owner: any AnyObject & Sendable

  package init(
    base: UnsafeRawPointer, bits: Int, rows: Int, columns: Int, owner: any AnyObject & Sendable
  ) {
    precondition(columns % 64 == 0, "\(columns) columns")
    self.base = base
    format = Self.format(bits: bits)
    self.rows = rows
    self.columns = columns
    self.owner = owner
  }

  /// The format of choosers in 2, 4 or 8 bits.
  package static func format(bits: Int) -> GroupwiseFormat {
    guard [2, 4, 8].contains(bits), let format = GroupwiseFormat(bits: bits, group: 64) else {
      preconditionFailure("choosers in \(bits) bits")
    }
    return format
  }

  /// Bytes of a row, codes and scales.
  package static func rowBytes(columns: Int, bits: Int) -> Int {
    format(bits: bits).rowBytes(columns)
  }

  package var bits: Int { format.bits }
  package var rowBytes: Int { format.rowBytes(columns) }
  package var byteCount: Int { rows * rowBytes }

  /// The weight at (row, column); slow, for the reference backend.
  package func element(_ row: Int, _ column: Int) -> Float {
    format.value(column, of: base + row * rowBytes, columns: columns)
  }
}

/// Where a chooser looks: which stream it reads, and how long before its block runs.
public enum Placement: String, Hashable, Sendable, CaseIterable {
  /// Heads of layer l from x_l; neurons of layer l from x_l would be `blockAhead`.
  case same
  /// Neurons of layer l from ỹ_l, behind its attention.
  case afterAttention = "after-attention"
  /// Half a layer early: neurons of l from x_l, heads of l from ỹ_{l−1} (the paper's figure 2).
  case blockAhead = "block-ahead"
  /// A whole layer early, from x_{l−1} (the paper's formula).
  case layerAhead = "layer-ahead"
  /// From x_0, which knows the token and its position and nothing else: every layer's set is known
  /// before the first layer runs, and no context can change it.
  case embedding
}

/// What one chooser computes: a score for every row of one block.
///
/// The stream is normalised, rounded to 8 bits with a step for every 64 columns and multiplied by
/// `first`; with a `second` matrix (the low-rank predictor) the result is rounded and multiplied again.
/// Row r is chosen when (product + bias[r]) · gain[r] is above a threshold.
package struct ChooserWeights: Sendable {
  /// How the stream is normalised before it is read.
  package enum Norm: String, Hashable, Sendable {
    /// Root mean square without parameters.
    case plain
    /// The norm of the layer's own MLP: what a shadow of W1 needs.
    case mlp
  }

  package var first: GroupwiseMatrix
  package var second: GroupwiseMatrix?
  package var norm: Norm
  package var bias: FloatVector?
  package var gain: FloatVector?
  /// Where `first` is the high halves of the rows themselves: what else their neurons read.
  package var nested: NestedRows?

  package init(
    first: GroupwiseMatrix, second: GroupwiseMatrix? = nil, norm: Norm, bias: FloatVector? = nil,
    gain: FloatVector? = nil
  ) {
    self.first = first
    self.second = second
    self.norm = norm
    self.bias = bias
    self.gain = gain
  }

  /// Rows that it scores.
  package var rows: Int { (second ?? first).rows }
  /// Bytes that one choice reads.
  package var byteCount: Int { first.byteCount + (second?.byteCount ?? 0) }
}

/// Neurons whose deciding rows lie in two halves: what a chooser that has read the high ones leaves
/// to be read, `[F][low half, other rows]`.
///
/// The high halves are the chooser's own matrix. Both are groupwise rows of the same bits, and
/// their sum is the row as it is stored, exactly.
package struct NestedRows: @unchecked Sendable {
  // Safe to share: the memory is never written after it is filled.
  package let base: UnsafeRawPointer
  /// Bytes of a low half.
  package let lowBytes: Int
  /// Keeps the memory alive.
  package let owner: any AnyObject & Sendable

  package init(base: UnsafeRawPointer, lowBytes: Int, owner: any AnyObject & Sendable) {
    self.base = base
    self.lowBytes = lowBytes
    self.owner = owner
  }
}

/// How a chooser's scores become a set.
public enum ChoiceRule: Hashable, Sendable {
  case threshold(Float)
  /// This many highest scores; fewer where several tie for the last place, since a row is chosen
  /// only when its score is above the highest one left out.
  case highest(Int)
}

/// How scores become sets in a plan, whatever the layer.
package enum RuleKind: String, CaseIterable, Hashable, Sendable {
  /// Rows whose score is above the layer's threshold: as many as the token needs.
  case threshold
  /// The rows of the highest scores, the same number for every token.
  case count
}

extension ChoiceRule {
  /// The rows whose scores meet the rule, ascending.
  package func rows(of scores: some RandomAccessCollection<Float>) -> [Int32] {
    var least = -Float.infinity
    switch self {
    case .threshold(let threshold): least = threshold
    case .highest(let count) where max(count, 1) < scores.count:
      least = scores.sorted(by: >)[max(count, 1)]
    case .highest: return Array(0..<Int32(scores.count))
    }
    return scores.enumerated().filter { $0.element > least }.map { Int32($0.offset) }
  }
}
