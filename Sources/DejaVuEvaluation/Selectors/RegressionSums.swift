import DejaVuCPU
import DejaVuCore
import DejaVuModels

/// Sums over tokens that a least-squares fit of contributions to embeddings needs.
final class RegressionSums {
  private let architecture: Architecture
  private let arithmetic: DenseArithmetic
  private let layers: Range<Int>
  private let axes: [RowAxis]
  private var tokens = 0
  /// `[D]`, Σ x̂ and, once centred, its mean.
  private var inputs: [Double]
  /// `[D, D]`, Σ x̂ᵀ x̂.
  private let squares: CPUBuffer
  /// `[D, T]`, the batch's x̂ᵀ; `[T, rows]`, shares; `[D, rows]`, products of one batch.
  private let transposed: CPUBuffer
  private let normed: CPUBuffer
  private var shares: [RowAxis: CPUBuffer] = [:]
  private var fresh: [RowAxis: CPUBuffer] = [:]
  /// By layer and axis, `[D, rows]` Σ x̂ᵀ y and `[rows]` Σ y.
  private var products: [PredictorSite: CPUBuffer] = [:]
  private var targets: [PredictorSite: [Double]] = [:]

  init(_ architecture: Architecture, axes: [RowAxis], layers: Range<Int>, backend: CPUBackend) {
    self.architecture = architecture
    self.layers = layers
    self.axes = axes
    arithmetic = backend.makeArithmetic()
    let (width, capacity) = (architecture.hidden, backend.batchCapacity)
    inputs = Array(repeating: 0, count: width)
    squares = CPUBuffer(capacity: width, width: width)
    transposed = CPUBuffer(capacity: width, width: capacity)
    normed = CPUBuffer(capacity: capacity, width: width)
    for axis in axes {
      let rows = axis.rows(architecture)
      shares[axis] = CPUBuffer(capacity: capacity, width: rows)
      fresh[axis] = CPUBuffer(capacity: width, width: rows)
      for layer in layers {
        products[Self.site(axis, layer)] = CPUBuffer(capacity: width, width: rows)
        targets[Self.site(axis, layer)] = Array(repeating: 0, count: rows)
      }
    }
  }

  private static func site(_ axis: RowAxis, _ layer: Int) -> PredictorSite {
    PredictorSite(axis: axis, layer: layer, placement: .embedding)
  }

  /// Mean of x̂, `[D]`.
  var meanInput: [Float] { inputs.map { Float($0 / Double(max(tokens, 1))) } }

  /// Takes in the embeddings of a batch and makes them the left operand of what follows.
  func begin(_ values: UnsafePointer<Float>, _ count: Int, _ stride: Int) {
    let width = architecture.hidden
    for t in 0..<count {
      let row = normed.row(t)
      arithmetic.loops.normalize(
        values + t * stride, count: width, padded: normed.stride, into: row)
      for i in 0..<width {
        transposed.row(i)[t] = row[i]
        inputs[i] += Double(row[i])
      }
    }
    tokens += count
    arithmetic.pack(transposed.base, stride: transposed.stride, rows: width, columns: count)
    let product = CPUBuffer(capacity: width, width: width)
    arithmetic.multiply(
      columns: normed.base, count: width, stride: normed.stride, into: product.base,
      stride: product.stride)
    Self.add(product, to: squares)
  }

  /// Takes in the contributions of a batch.
  func add(_ axis: RowAxis, _ layer: Int, _ values: CPUBuffer, _ count: Int) {
    let site = Self.site(axis, layer)
    guard layers.contains(layer), let shares = shares[axis], let fresh = fresh[axis],
      let sum = products[site]
    else { return }
    let rows = axis.rows(architecture)
    for t in 0..<count {
      let (from, to) = (values.row(t), shares.row(t))
      let total = (0..<rows).reduce(Float(0)) { $0 + from[$1] }
      let scale = total > 0 ? 1 / total : 0
      for i in 0..<rows {
        to[i] = from[i] * scale
        targets[site]?[i] += Double(to[i])
      }
    }
    arithmetic.multiply(
      columns: shares.base, count: rows, stride: shares.stride, into: fresh.base,
      stride: fresh.stride)
    Self.add(fresh, to: sum)
  }

  private static func add(_ from: CPUBuffer, to sum: CPUBuffer) {
    for i in 0..<from.capacity * from.stride { sum.base[i] += from.base[i] }
  }

  /// Σ (x̂ − x̄)ᵀ (y − ȳ), `[D, rows]`, and ȳ.
  func centred(_ axis: RowAxis, _ layer: Int) -> (products: CPUBuffer, means: [Float]) {
    let site = Self.site(axis, layer)
    guard let sum = products[site], let target = targets[site] else {
      preconditionFailure("nothing was summed for \(axis.rawValue) of layer \(layer)")
    }
    let result = CPUBuffer(capacity: sum.capacity, width: sum.stride)
    for i in 0..<architecture.hidden {
      let mean = inputs[i] / Double(max(tokens, 1))
      for row in target.indices {
        result.row(i)[row] = Float(Double(sum.row(i)[row]) - mean * target[row])
      }
    }
    return (result, target.map { Float($0 / Double(max(tokens, 1))) })
  }

  /// (Σ (x̂ − x̄)ᵀ (x̂ − x̄) + λ)⁻¹, λ being `ridge` times the mean of the diagonal.
  func inverse(ridge: Double) -> CPUBuffer {
    let width = architecture.hidden
    var matrix = [Double](repeating: 0, count: width * width)
    for i in 0..<width {
      for j in 0..<width {
        matrix[i * width + j] =
          Double(squares.row(i)[j]) - inputs[i] * inputs[j] / Double(max(tokens, 1))
      }
    }
    let trace = (0..<width).reduce(0.0) { $0 + matrix[$1 * width + $1] }
    let shift = max(ridge * trace / Double(width), 1e-9)
    for i in 0..<width { matrix[i * width + i] += shift }
    let inverse = CholeskyInverse.of(matrix, width: width)
    let result = CPUBuffer(capacity: width, width: width)
    for i in 0..<width {
      for j in 0..<width { result.row(i)[j] = Float(inverse[i * width + j]) }
    }
    return result
  }
}

/// Inverses of symmetric positive definite matrices.
package enum CholeskyInverse {
  /// A⁻¹ = L⁻ᵀ L⁻¹ with A = L Lᵀ, both `[n, n]`; A is symmetric and positive definite, and its
  /// lower half is read.
  package static func of(_ matrix: [Double], width n: Int) -> [Double] {
    let lower = factor(matrix, n)
    var inverse = [Double](repeating: 0, count: n * n)
    // Row i of L⁻¹ = (eᵢ − Σ_{k < i} L[i, k] · row k) / L[i, i]; rows are read along.
    for i in 0..<n {
      for k in 0..<i {
        let scale = lower[i * n + k]
        for j in 0...k { inverse[i * n + j] -= scale * inverse[k * n + j] }
      }
      inverse[i * n + i] += 1
      for j in 0...i { inverse[i * n + j] /= lower[i * n + i] }
    }
    var result = [Double](repeating: 0, count: n * n)
    for k in 0..<n {
      for i in 0...k {
        let scale = inverse[k * n + i]
        for j in 0...k { result[i * n + j] += scale * inverse[k * n + j] }
      }
    }
    return result
  }

  /// L with A = L Lᵀ; 0 above the diagonal.
  private static func factor(_ matrix: [Double], _ n: Int) -> [Double] {
    var lower = [Double](repeating: 0, count: n * n)
    for i in 0..<n {
      for j in 0...i {
        var sum = matrix[i * n + j]
        for k in 0..<j { sum -= lower[i * n + k] * lower[j * n + k] }
        precondition(i != j || sum > 0, "the matrix is not positive definite at row \(i)")
        lower[i * n + j] = i == j ? sum.squareRoot() : sum / lower[j * n + j]
      }
    }
    return lower
  }
}
