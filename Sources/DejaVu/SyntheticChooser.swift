import DejaVuCPU
import DejaVuCore

/// One random low-rank predictor, with a bias that can be set between steps.
final class SyntheticChooser {
  /// Its matrices may move beside others'; the bias stays where it is.
  var weights: ChooserWeights
  private let keep: Int
  private let overlap: Double
  private let bias: UnsafeMutableBufferPointer<Float>
  /// What each row's score has beside the product: nearly normal, variance 1.
  private let leanings: [Float]
  /// `[tokens][rows]` products that were noted since the last solution.
  private var products: [Float] = []

  /// - Parameters:
  ///   - rows: rows that it scores.
  ///   - keep: rows that a token chooses.
  ///   - hidden: width of the stream.
  ///   - overlap: share of a token's rows that the next token should choose again.
  ///   - options: rank, bits and seed.
  ///   - stream: tells this chooser's numbers from those of others with the same seed.
  init(
    rows: Int, keep: Int, hidden: Int, overlap: Double, options: SyntheticSparsity.Options,
    stream: UInt64
  ) {
    self.keep = keep
    self.overlap = overlap
    var random = SplitMix64(state: options.seed &* 1_000_003 &+ stream &* 7_368_787)
    let columns = (hidden + 63) / 64 * 64
    let firstBytes = options.rank * GroupwiseMatrix.rowBytes(columns: columns, bits: options.bits)
    let secondBytes = rows * GroupwiseMatrix.rowBytes(columns: options.rank, bits: options.bits)
    let second = Self.aligned(firstBytes)
    let storage = GroupwiseStorage(byteCount: second + secondBytes)
    let biases = GroupwiseStorage(byteCount: 4 * rows)
    let first = GroupwiseMatrix(
      base: storage.base, bits: options.bits, rows: options.rank, columns: columns, owner: storage)
    let last = GroupwiseMatrix(
      base: storage.base + second, bits: options.bits, rows: rows, columns: options.rank,
      owner: storage)
    Self.fill(storage.base, as: first, inputs: hidden, &random)
    Self.fill(storage.base + second, as: last, inputs: options.rank, &random)
    let floats = biases.base.assumingMemoryBound(to: Float.self)
    bias = UnsafeMutableBufferPointer(start: floats, count: rows)
    leanings = (0..<rows).map { _ in random.normal() }
    weights = ChooserWeights(
      first: first, second: last, norm: .plain,
      bias: FloatVector(base: UnsafePointer(floats), count: rows, owner: biases))
  }

  private static func aligned(_ bytes: Int) -> Int { (bytes + 63) / 64 * 64 }

  /// Random codes, and the scale with which a product of a vector of root mean square 1 has
  /// variance 1.
  private static func fill(
    _ base: UnsafeMutableRawPointer, as matrix: GroupwiseMatrix, inputs: Int,
    _ random: inout SplitMix64
  ) {
    let levels = Float(1 << matrix.bits)
    let spread = ((levels * levels - 1) / 12).squareRoot()
    let scale = HalfPrecision.half(1 / (spread * Float(inputs).squareRoot()))
    let codes = matrix.format.codeBytes(matrix.columns)
    for row in 0..<matrix.rows {
      let target = base + row * matrix.rowBytes
      for at in stride(from: 0, to: codes, by: 8) {
        target.storeBytes(of: random.next(), toByteOffset: at, as: UInt64.self)
      }
      for group in 0..<matrix.format.groups(matrix.columns) {
        target.storeBytes(of: scale, toByteOffset: codes + 2 * group, as: UInt16.self)
      }
    }
  }

  /// Remembers a token's products: its scores without the bias.
  func note(_ scores: UnsafeBufferPointer<Float>) {
    for (score, bias) in zip(scores, bias) { products.append(score - bias) }
  }

  /// Sets the bias from the products noted: means from the first half of the tokens, spread and
  /// overlap from the second, so that the means' own error counts.
  func solve() {
    let rows = bias.count
    let half = products.count / rows / 2
    guard half > 1 else { return }
    var means = [Float](repeating: 0, count: rows)
    for t in 0..<half {
      for r in 0..<rows { means[r] += products[t * rows + r] / Float(half) }
    }
    var moving = Array(products[(half * rows)...])
    for at in moving.indices { moving[at] -= means[at % rows] }
    let square = moving.reduce(Float(0)) { $0 + $1 * $1 } / Float(moving.count)
    let leanings = leanings.map { $0 * square.squareRoot() }
    var (low, high) = (Float(0), Float(16))
    for _ in 0..<14 {
      let middle = (low + high) / 2
      if sets(moving, leanings, strength: middle).overlap < overlap {
        low = middle
      } else {
        high = middle
      }
    }
    let threshold = sets(moving, leanings, strength: low).threshold
    for r in 0..<rows { bias[r] = low * leanings[r] - means[r] - threshold }
    products.removeAll(keepingCapacity: true)
  }

  /// Moves the threshold so that the wanted share of the rows noted since lies above it.
  func settleThreshold() {
    let rows = bias.count
    var scores = products
    for at in scores.indices { scores[at] += bias[at % rows] }
    let threshold = Self.highest(keep * (scores.count / rows), of: &scores)
    for r in 0..<rows { bias[r] -= threshold }
    products.removeAll(keepingCapacity: true)
  }

  /// The score that the wanted share of all rows of all tokens lies at or above, and the mean share
  /// of a token's rows that the next token chooses again.
  private func sets(
    _ moving: [Float], _ leanings: [Float], strength: Float
  ) -> (threshold: Float, overlap: Double) {
    let (rows, tokens) = (leanings.count, moving.count / leanings.count)
    var scores = moving
    for at in scores.indices { scores[at] += strength * leanings[at % rows] }
    var copy = scores
    let threshold = Self.highest(keep * tokens, of: &copy)
    var (shared, chosen) = (0, 0)
    for at in rows..<scores.count where scores[at] >= threshold {
      chosen += 1
      if scores[at - rows] >= threshold { shared += 1 }
    }
    return (threshold, Double(shared) / Double(max(chosen, 1)))
  }

  /// The `count`-th highest value, by quickselect.
  static func highest(_ count: Int, of values: inout [Float]) -> Float {
    var (low, high) = (0, values.count - 1)
    let target = count - 1
    while low < high {
      let pivot = values[low + (high - low) / 2]
      var (i, j) = (low, high)
      while i <= j {
        while values[i] > pivot { i += 1 }
        while values[j] < pivot { j -= 1 }
        if i <= j {
          values.swapAt(i, j)
          i += 1
          j -= 1
        }
      }
      if target <= j { high = j } else if target >= i { low = i } else { break }
    }
    return values[target]
  }
}

extension SplitMix64 {
  /// The sum of eight bytes' draws, shifted and scaled: nearly normal, variance 1.
  fileprivate mutating func normal() -> Float {
    var (bits, sum) = (next(), Float(0))
    for _ in 0..<8 {
      sum += Float(bits & 255)
      bits >>= 8
    }
    let spread = Float(8 * 65535).squareRoot() / Float(12).squareRoot()
    return (sum - 8 * 127.5) / spread
  }
}
