import DejaVuCore

extension CodedTensor {
  /// Codes of some outputs, every input's.
  ///
  /// - Parameters:
  ///   - range: the outputs.
  ///   - out: `[range.count, inputs]`, replaced.
  package func read(outputs range: Range<Int>, into out: UnsafeMutablePointer<UInt8>) {
    eachCode(inputs: 0..<inputs, outputs: range) { [inputs] input, output, code in
      out[(output - range.lowerBound) * inputs + input] = code
    }
  }

  /// Codes of some inputs, every output's.
  ///
  /// - Parameters:
  ///   - range: the inputs.
  ///   - out: `[range.count, outputs]`, replaced.
  package func read(inputs range: Range<Int>, into out: UnsafeMutablePointer<UInt8>) {
    eachCode(inputs: range, outputs: 0..<outputs) { [outputs] input, output, code in
      out[(input - range.lowerBound) * outputs + output] = code
    }
  }

  /// Calls `body` for every code of a part, words in the order in which they lie.
  @inline(__always)
  private func eachCode(
    inputs: Range<Int>, outputs: Range<Int>, _ body: (_ input: Int, _ output: Int, UInt8) -> Void
  ) {
    let (perWord, bits, mask) = (codes.perWord, codes.bits, UInt32(1) << UInt32(codes.bits) - 1)
    qweight.withBytes { bytes in
      func word(_ row: Int, _ column: Int, _ width: Int) -> UInt32 {
        UInt32(
          littleEndian: bytes.loadUnaligned(
            fromByteOffset: 4 * (row * width + column), as: UInt32.self))
      }
      switch codes.method {
      case .gptq:
        for row in inputs.lowerBound / perWord..<(inputs.upperBound + perWord - 1) / perWord {
          let first = row * perWord
          let part = max(first, inputs.lowerBound)..<min(first + perWord, inputs.upperBound)
          for output in outputs {
            let word = word(row, output, self.outputs)
            for input in part {
              body(input, output, UInt8(word >> UInt32(input % perWord * bits) & mask))
            }
          }
        }
      case .awq:
        for input in inputs {
          let columns =
            outputs.lowerBound / perWord..<(outputs.upperBound + perWord - 1) / perWord
          for column in columns {
            let word = word(input, column, self.outputs / perWord)
            let first = column * perWord
            let part = max(first, outputs.lowerBound)..<min(first + perWord, outputs.upperBound)
            for output in part {
              body(input, output, UInt8(word >> UInt32(Self.awqPlace(output) * bits) & mask))
            }
          }
        }
      }
    }
  }

  /// Where output `output` lies in its word: even ones come first.
  private static func awqPlace(_ output: Int) -> Int { output % 8 / 2 + output % 2 * 4 }

  /// The zero of a group of inputs and one output, 0 to 2^bits.
  package func zero(group: Int, output: Int) -> Int {
    storedZero(group: group, output: output) + (codes.storesZerosLessOne ? 1 : 0)
  }

  private func storedZero(group: Int, output: Int) -> Int {
    let (perWord, bits) = (codes.perWord, codes.bits)
    let place = codes.method == .awq ? Self.awqPlace(output) : output % perWord
    let at = 4 * (group * (outputs / perWord) + output / perWord)
    return qzeros.withBytes { bytes in
      let word = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
      return Int(word >> UInt32(place * bits) & (UInt32(1) << UInt32(bits) - 1))
    }
  }

  /// The scale of a group of inputs and one output, as an IEEE half pattern; exact after
  /// ``validate()``.
  package func scale(group: Int, output: Int) -> UInt16 {
    guard scales.dtype == .float16 else { return HalfPrecision.half(value(group, output)) }
    let at = 2 * (group * outputs + output)
    return scales.withBytes { bytes in
      UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt16.self))
    }
  }

  private func value(_ group: Int, _ output: Int) -> Float {
    let view = TensorView.plain(scales.name, rows: groups, columns: outputs)
    return WeightMap.element(view.offset + group * view.rowStride + output, in: scales)
  }

  /// Whether every scale is a number that half precision holds, and every zero says what it means.
  ///
  /// - Throws: ``CheckpointError/invalidTensor(file:name:reason:)``.
  /// - Complexity: reads scales and zeros, a fiftieth of the matrix in groups of 128.
  package func validate() throws(CheckpointError) {
    for group in 0..<groups {
      for output in 0..<outputs {
        try checkScale(group, output)
        try checkZero(group, output)
      }
    }
  }

  private func checkScale(_ group: Int, _ output: Int) throws(CheckpointError) {
    let value = value(group, output)
    guard value.isFinite, HalfPrecision.float(half: HalfPrecision.half(value)) == value else {
      throw .invalidTensor(
        file: scales.file.path, name: scales.name,
        reason: "its scale of group \(group) and output \(output) is \(value), which is not a "
          + "finite number of half precision")
    }
  }

  private func checkZero(_ group: Int, _ output: Int) throws(CheckpointError) {
    let (stored, greatest) = (storedZero(group: group, output: output), 1 << codes.bits - 1)
    if codes.isSymmetric {
      let (zero, wanted) = (zero(group: group, output: output), 1 << (codes.bits - 1))
      guard zero != wanted else { return }
      throw .invalidTensor(
        file: qzeros.file.path, name: qzeros.name,
        reason: "its zero of group \(group) and output \(output) is \(zero) where 'sym' in "
          + "config.json says \(wanted)"
          + (zero == wanted + 1 ? "; if 'checkpoint_format' should be gptq_v2, say so there" : ""))
    }
    guard codes.storesZerosLessOne, stored == greatest else { return }
    throw .invalidTensor(
      file: qzeros.file.path, name: qzeros.name,
      reason: "its zero of group \(group) and output \(output) is stored as \(stored), which some "
        + "readers of this format take for \(stored + 1) and others for 0; use a copy of "
        + "checkpoint_format gptq_v2")
  }
}
