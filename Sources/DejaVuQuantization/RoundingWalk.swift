import DejaVuCPU
import DejaVuCore

/// One walk of `FeedbackRounding` over a matrix; positions are places in the order of the factor.
final class RoundingWalk: @unchecked Sendable {
  // Safe to share: threads write disjoint outputs.
  private let rounding: FeedbackRounding
  private let format: GroupwiseFormat
  private let weights: CPUBuffer
  private let inputs: Int
  private let outputs: Int
  private let factor: CPUBuffer
  private let order: [Int]
  /// `[inputs, outputs]` by position, w − q of what is rounded.
  private let errors: CPUBuffer
  /// `[block, outputs]`, what the inputs behind a block add to its targets, times T[k, k].
  private let feedback: CPUBuffer
  /// `[inputs, outputs]` by input.
  private let codes: UnsafeMutablePointer<UInt8>
  /// `[inputs, groups of outputs]` or `[groups of inputs, outputs]`.
  private let scales: UnsafeMutablePointer<GroupScale>
  private let scaleCount: Int

  init(
    rounding: FeedbackRounding, weights: CPUBuffer, outputs: Int, factor: CPUBuffer, order: [Int]
  ) {
    self.rounding = rounding
    self.weights = weights
    self.outputs = outputs
    self.factor = factor
    self.order = order
    format = rounding.fit.format
    inputs = order.count
    errors = CPUBuffer(capacity: inputs, width: outputs)
    feedback = CPUBuffer(capacity: FeedbackRounding.block, width: outputs)
    codes = .allocate(capacity: inputs * outputs)
    scaleCount =
      rounding.groups == .alongOutputs
      ? inputs * format.groupCount(outputs) : format.groupCount(inputs) * outputs
    scales = .allocate(capacity: scaleCount)
    codes.initialize(repeating: 0, count: inputs * outputs)
    scales.initialize(repeating: .nothing, count: scaleCount)
  }

  deinit {
    codes.deallocate()
    scales.deallocate()
  }

  /// Whether the inputs of a group stand together, so that its scales can wait for its turn.
  private var keepsGroups: Bool { order == Array((0..<inputs).reversed()) }

  func run() {
    // A slice of outputs is a multiple of every group.
    let slice = 256
    let slices = (outputs + slice - 1) / slice
    let fitsFirst = rounding.groups == .alongInputs && !keepsGroups
    if fitsFirst {
      rounding.arithmetic.run(chunks: slices) { [self] chunk in
        let range = chunk * slice..<min((chunk + 1) * slice, outputs)
        for group in 0..<format.groupCount(inputs) { fitInputs(group, range, nil) }
      }
    }
    // Blocks start at multiples of a group counted from the first input, which stands last.
    for done in stride(from: 0, to: inputs, by: FeedbackRounding.block) {
      let end = inputs - done
      let block = max(end - FeedbackRounding.block, 0)..<end
      gather(block)
      rounding.arithmetic.run(chunks: slices) { [self] chunk in
        let range = chunk * slice..<min((chunk + 1) * slice, outputs)
        walk(block, range, fits: rounding.groups == .alongInputs && !fitsFirst)
      }
    }
  }

  /// feedback = T[block, behind] · errors[behind].
  private func gather(_ block: Range<Int>) {
    let behind = inputs - block.upperBound
    guard behind > 0 else {
      feedback.base.update(repeating: 0, count: feedback.capacity * feedback.stride)
      return
    }
    let arithmetic = rounding.arithmetic
    arithmetic.pack(
      factor.row(block.lowerBound) + block.upperBound, stride: factor.stride, rows: block.count,
      columns: behind)
    arithmetic.multiply(
      columns: errors.row(block.upperBound), count: outputs, stride: errors.stride,
      into: feedback.base, stride: feedback.stride)
  }

  /// Rounds a block of inputs for some of the outputs.
  private func walk(_ block: Range<Int>, _ range: Range<Int>, fits: Bool) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: range.count) { scratch in
      guard let target = scratch.baseAddress else { return }
      for position in block.reversed() {
        let input = order[position]
        if fits, input % format.group == 0 { fitInputs(input / format.group, range, block) }
        settle(position, block, range, into: target)
        switch rounding.groups {
        case .alongOutputs: roundAlongOutputs(position, range, target)
        case .alongInputs: roundAlongInputs(position, range, target)
        }
      }
    }
  }

  /// target = w[position] + Σ_{j > position} T[position, j] errors[j] / T[position, position].
  private func settle(
    _ position: Int, _ block: Range<Int>, _ range: Range<Int>,
    into target: UnsafeMutablePointer<Float>
  ) {
    let (row, first) = (factor.row(position), range.lowerBound)
    let base = feedback.row(position - block.lowerBound) + first
    for i in 0..<range.count { target[i] = base[i] }
    for j in position + 1..<max(block.upperBound, position + 1) {
      let (scale, error) = (row[j], errors.row(j) + first)
      for i in 0..<range.count { target[i] += scale * error[i] }
    }
    let (inverse, weight) = (1 / row[position], weights.row(order[position]) + first)
    for i in 0..<range.count { target[i] = weight[i] + target[i] * inverse }
  }

  private func roundAlongOutputs(
    _ position: Int, _ range: Range<Int>, _ target: UnsafePointer<Float>
  ) {
    let input = order[position]
    let (weight, error) = (weights.row(input), errors.row(position))
    let groups = format.groupCount(outputs)
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * format.group) { scratch in
      guard let padded = scratch.baseAddress else { return }
      let importance = padded + format.group
      for start in stride(from: range.lowerBound, to: range.upperBound, by: format.group) {
        let count = min(format.group, range.upperBound - start)
        for i in 0..<format.group {
          padded[i] = i < count ? target[start - range.lowerBound + i] : 0
          importance[i] = i < count ? 1 : 0
        }
        let scale = rounding.fit.fit(padded, importance: importance)
        scales[input * groups + start / format.group] = scale
        let coder = GroupCoder(scale, greatest: format.greatestCode)
        for i in 0..<count {
          let code = coder.code(padded[i])
          codes[input * outputs + start + i] = UInt8(code)
          error[start + i] = weight[start + i] - coder.value(of: code)
        }
      }
    }
  }

  private func roundAlongInputs(
    _ position: Int, _ range: Range<Int>, _ target: UnsafePointer<Float>
  ) {
    let input = order[position]
    let (weight, error) = (weights.row(input), errors.row(position))
    let scale = scales + input / format.group * outputs
    for output in range {
      let coder = GroupCoder(scale[output], greatest: format.greatestCode)
      let code = coder.code(target[output - range.lowerBound])
      codes[input * outputs + output] = UInt8(code)
      error[output] = weight[output] - coder.value(of: code)
    }
  }

  /// Finds the scales of a group of inputs for some of the outputs.
  ///
  /// - Parameters:
  ///   - group: of inputs.
  ///   - range: the outputs.
  ///   - block: where the group's turn has come, the block that holds it: then what is fitted is what
  ///     the inputs would be if they made up for all of the error so far. Nil fits the weights.
  private func fitInputs(_ group: Int, _ range: Range<Int>, _ block: Range<Int>?) {
    let first = group * format.group
    let count = min(format.group, inputs - first)
    let width = range.count
    let capacity = width * count + 2 * format.group
    withUnsafeTemporaryAllocation(of: Float.self, capacity: capacity) { scratch in
      guard let moves = scratch.baseAddress else { return }
      let (padded, importance) = (moves + width * count, moves + width * count + format.group)
      moves.update(repeating: 0, count: width * count)
      if let block {
        for k in 0..<count { balance(first, k, block, range, moves) }
      }
      for i in 0..<width {
        for k in 0..<format.group {
          let isInside = k < count
          padded[k] =
            isInside
            ? weights.row(first + k)[range.lowerBound + i] - moves[k * width + i] : 0
          importance[k] = isInside ? 1 : 0
        }
        scales[group * outputs + range.lowerBound + i] = rounding.fit.fit(
          padded, importance: importance)
      }
    }
  }

  /// d of input `first + k` at which its component of T d vanishes, the inputs before having done
  /// the same: −(feedback + Σ T d) / T[k, k].
  private func balance(
    _ first: Int, _ k: Int, _ block: Range<Int>, _ range: Range<Int>,
    _ moves: UnsafeMutablePointer<Float>
  ) {
    let position = inputs - 1 - first - k
    let (row, width) = (factor.row(position), range.count)
    let to = moves + k * width
    let base = feedback.row(position - block.lowerBound) + range.lowerBound
    for i in 0..<width { to[i] = base[i] }
    for j in position + 1..<max(block.upperBound, position + 1) {
      let before = inputs - 1 - first - j
      // Positions of this group hold what was just balanced, those behind it what was rounded.
      let source =
        before >= 0 ? moves + before * width : errors.row(j) + range.lowerBound
      let scale = row[j]
      for i in 0..<width { to[i] += scale * source[i] }
    }
    let inverse = -1 / row[position]
    for i in 0..<width { to[i] *= inverse }
  }

  /// The engine's rows, once `run` is through.
  func result() -> [GroupwiseRow] {
    switch rounding.groups {
    case .alongOutputs:
      let groups = format.groupCount(outputs)
      return (0..<inputs).map { input in
        let start = codes + input * outputs
        return row(
          Array(UnsafeBufferPointer(start: start, count: outputs)),
          Array(UnsafeBufferPointer(start: scales + input * groups, count: groups)))
      }
    case .alongInputs:
      let groups = format.groupCount(inputs)
      return (0..<outputs).map { output in
        row(
          (0..<inputs).map { codes[$0 * outputs + output] },
          (0..<groups).map { scales[$0 * outputs + output] })
      }
    }
  }

  private func row(_ codes: [UInt8], _ groups: [GroupScale]) -> GroupwiseRow {
    GroupwiseRow(
      codes: codes, scales: groups.map { HalfPrecision.half($0.scale) },
      zeros: format.hasZeros ? groups.map(\.zero) : nil)
  }
}
