package import DejaVuCore

/// Scale and zero of one group; both are exact in float16.
package struct GroupScale: Hashable, Sendable {
  package let scale: Float
  package let zero: Float

  package init(scale: Float, zero: Float) {
    self.scale = scale
    self.zero = zero
  }

  /// What a group of zeros has: every code stands for 0.
  package static let nothing = GroupScale(scale: 0, zero: 0)
}

/// Finds the scale and zero of a group of weights.
package struct GroupFit: Sendable {
  package enum Method: String, CaseIterable, Hashable, Sendable {
    /// The range of the group's weights.
    case range = "rtn"
    /// Of ranges shrunk in steps, with zeros beside, what leaves the least squared error.
    case search
  }

  package let format: GroupwiseFormat
  package let method: Method

  package init(format: GroupwiseFormat, method: Method) {
    self.format = format
    self.method = method
  }

  /// Shrunk ranges that are tried, 1 among them.
  private static let shrinks: [Float] = (0..<31).map { 1 - Float($0) * 0.02 }
  /// Weights beyond are no weights: their scales would leave float16.
  package static let greatestWeight: Float = 65504

  /// - Parameters:
  ///   - values: `[format.group]` finite weights, padded with zeros.
  ///   - importance: `[format.group]`, what each squared error counts; 0 for padding.
  /// - Returns: all zeros where the group is.
  package func fit(
    _ values: UnsafePointer<Float>, importance: UnsafePointer<Float>
  ) -> GroupScale {
    var (least, greatest) = (Float(0), Float(0))
    for i in 0..<format.group {
      least = min(least, values[i])
      greatest = max(greatest, values[i])
    }
    guard least < 0 || greatest > 0 else {
      return format.hasZeros ? .nothing : GroupScale(scale: 0, zero: format.middle)
    }
    let whole = scale(least: least, greatest: greatest, shrink: 1)
    guard method == .search else { return whole }
    var best = (scale: whole, error: Float.infinity)
    func attempt(_ candidate: GroupScale) {
      let error = squaredError(values, importance, candidate)
      if error < best.error { best = (candidate, error) }
    }
    for shrink in Self.shrinks {
      let candidate = scale(least: least, greatest: greatest, shrink: shrink)
      attempt(candidate)
      guard format.hasZeros else { continue }
      for zero in [candidate.zero - 1, candidate.zero + 1]
      where zero >= 0 && zero <= Float(format.greatestCode) {
        attempt(GroupScale(scale: candidate.scale, zero: zero))
      }
    }
    for _ in 0..<2 {
      if let refined = leastSquares(values, importance, best.scale) { attempt(refined) }
    }
    return best.scale
  }

  /// The scale at which the codes span a shrunk range, rounded up so that no weight inside is
  /// further than half a step from its code.
  private func scale(least: Float, greatest: Float, shrink: Float) -> GroupScale {
    let codes = Float(format.greatestCode)
    if !format.hasZeros {
      let range = 2 * max(-least, greatest) * shrink
      return GroupScale(scale: Self.roundedUp(range / codes), zero: format.middle)
    }
    let scale = Self.roundedUp((greatest - least) * shrink / codes)
    let zero = (-least * shrink / scale).rounded(.toNearestOrEven)
    return GroupScale(scale: scale, zero: min(max(zero, 0), codes))
  }

  /// The least float16 number that is not below a positive one.
  private static func roundedUp(_ value: Float) -> Float {
    var pattern = HalfPrecision.half(value)
    if HalfPrecision.float(half: pattern) < value { pattern += 1 }
    return min(HalfPrecision.float(half: pattern), 65504)
  }

  /// Σ importance · (value − (code − zero) · scale)², eight lanes at a time.
  private func squaredError(
    _ values: UnsafePointer<Float>, _ importance: UnsafePointer<Float>, _ scale: GroupScale
  ) -> Float {
    let (values, importance) = (UnsafeRawPointer(values), UnsafeRawPointer(importance))
    let coder = GroupCoder(scale, greatest: format.greatestCode)
    var sum = SIMD8<Float>.zero
    for i in stride(from: 0, to: format.group * 4, by: 32) {
      let value = values.loadUnaligned(fromByteOffset: i, as: SIMD8<Float>.self)
      let error = value - coder.value(of: coder.codes(value))
      sum += importance.loadUnaligned(fromByteOffset: i, as: SIMD8<Float>.self) * error * error
    }
    return sum.sum()
  }

  /// The scale that suits the codes of `scale` best; nil where the codes say nothing.
  private func leastSquares(
    _ values: UnsafePointer<Float>, _ importance: UnsafePointer<Float>, _ scale: GroupScale
  ) -> GroupScale? {
    let (values, importance) = (UnsafeRawPointer(values), UnsafeRawPointer(importance))
    let coder = GroupCoder(scale, greatest: format.greatestCode)
    var (products, squares) = (SIMD8<Float>.zero, SIMD8<Float>.zero)
    for i in stride(from: 0, to: format.group * 4, by: 32) {
      let value = values.loadUnaligned(fromByteOffset: i, as: SIMD8<Float>.self)
      let steps = coder.codes(value) - SIMD8(repeating: scale.zero)
      let weight = importance.loadUnaligned(fromByteOffset: i, as: SIMD8<Float>.self)
      products += weight * steps * value
      squares += weight * steps * steps
    }
    let exact = products.sum() / squares.sum()
    guard exact.isFinite, exact > 0, exact < 65504 else { return nil }
    let rounded = HalfPrecision.float(half: HalfPrecision.half(exact))
    return rounded > 0 ? GroupScale(scale: rounded, zero: scale.zero) : nil
  }
}

/// Turns weights of one group into codes and back.
package struct GroupCoder: Sendable {
  /// Adding and subtracting it rounds to the nearest integer, ties to even, below 2^22.
  private static let rounder: Float = 12_582_912

  private let scale: Float
  private let inverse: Float
  private let zero: Float
  private let greatest: Float

  package init(_ scale: GroupScale, greatest: Int) {
    self.scale = scale.scale
    inverse = scale.scale > 0 ? 1 / scale.scale : 0
    zero = scale.zero
    self.greatest = Float(greatest)
  }

  package func code(_ value: Float) -> Float {
    let clamped = min(max(value * inverse + zero, 0), greatest)
    return clamped + Self.rounder - Self.rounder
  }

  package func value(of code: Float) -> Float { (code - zero) * scale }

  func codes(_ values: SIMD8<Float>) -> SIMD8<Float> {
    var codes = values * inverse + zero
    codes.replace(with: SIMD8(repeating: 0), where: codes .< SIMD8(repeating: 0))
    let most = SIMD8(repeating: greatest)
    codes.replace(with: most, where: codes .> most)
    return codes + SIMD8(repeating: Self.rounder) - SIMD8(repeating: Self.rounder)
  }

  func value(of codes: SIMD8<Float>) -> SIMD8<Float> {
    (codes - SIMD8(repeating: zero)) * scale
  }
}
