/// Unicode normal form C in linear time, but for the sorting of marks.
///
/// Foundation's own composes some scalars beyond U+FFFF wrongly on Linux (U+103BF with an acute
/// accent becomes a Greek omicron with one) and takes quadratic time for marks out of order.
struct CanonicalComposition {
  private var output: [Unicode.Scalar] = []
  /// The place in `output` of the scalar that marks may compose with.
  private var starter: Int?
  /// The marks since the last starter.
  private var marks: [(scalar: Unicode.Scalar, combiningClass: UInt8)] = []

  static func compose(_ text: ArraySlice<UInt8>) -> [UInt8] {
    var composition = CanonicalComposition()
    for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
      if let syllable = Hangul.decompose(scalar) {
        for part in syllable { composition.append(part) }
      } else if let parts = decompositions[scalar] {
        for part in parts { composition.append(part) }
      } else {
        composition.append(scalar)
      }
    }
    composition.flushMarks()
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    for scalar in composition.output { result.append(contentsOf: scalar.utf8) }
    return result
  }

  private mutating func append(_ scalar: Unicode.Scalar) {
    let combiningClass =
      scalar.value < 0x300 ? 0 : scalar.properties.canonicalCombiningClass.rawValue
    if combiningClass != 0 {
      marks.append((scalar, combiningClass))
      return
    }
    flushMarks()
    // Two starters compose only when nothing is left between them.
    if let starter, starter == output.count - 1,
      let composite = Self.composite(of: output[starter], scalar)
    {
      output[starter] = composite
    } else {
      starter = output.count
      output.append(scalar)
    }
  }

  /// Sorts the marks (stably, as canonical ordering is) and composes those that can.
  private mutating func flushMarks() {
    guard !marks.isEmpty else { return }
    marks.sort { $0.combiningClass < $1.combiningClass }
    var lastKept: UInt8 = 0
    for (mark, combiningClass) in marks {
      // A mark that was kept blocks the later ones of its class.
      if let starter, lastKept < combiningClass,
        let composite = Self.composite(of: output[starter], mark)
      {
        output[starter] = composite
      } else {
        output.append(mark)
        lastKept = combiningClass
      }
    }
    marks.removeAll(keepingCapacity: true)
  }

  private static func composite(
    of first: Unicode.Scalar, _ second: Unicode.Scalar
  ) -> Unicode.Scalar? {
    Hangul.compose(first, second) ?? composites[pair(first, second)]
  }

  private static func pair(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> UInt64 {
    UInt64(first.value) << 32 | UInt64(second.value)
  }

  /// The full decomposition of each scalar that has one, and what each pair composes to.
  private static let (decompositions, composites) = {
    var single: [Unicode.Scalar: [Unicode.Scalar]] = [:]
    var composites: [UInt64: Unicode.Scalar] = [:]
    var code: UInt32 = 0
    for item in table.split(whereSeparator: \.isWhitespace) {
      if item.last == ":" {
        code = UInt32(item.dropLast(), radix: 16) ?? 0
        continue
      }
      let parts = item.drop { $0 == "!" }.split(separator: "+")
        .compactMap { UInt32($0, radix: 16).flatMap(Unicode.Scalar.init) }
      if let composite = Unicode.Scalar(code) {
        single[composite] = parts
        if parts.count == 2, item.first != "!" { composites[pair(parts[0], parts[1])] = composite }
      }
      code += 1
    }
    func full(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
      single[scalar].map { $0.flatMap(full) } ?? [scalar]
    }
    return (single.mapValues { $0.flatMap(full) }, composites)
  }()
}

/// The 11,172 Hangul syllables, which are composed by arithmetic (Unicode 3.12).
private enum Hangul {
  static let syllables: UInt32 = 0xAC00
  static let leads: UInt32 = 0x1100
  static let vowels: UInt32 = 0x1161
  /// One before the first tail, because no tail counts as tail 0.
  static let tails: UInt32 = 0x11A7

  static func decompose(_ syllable: Unicode.Scalar) -> [Unicode.Scalar]? {
    guard (0xAC00...0xD7A3).contains(syllable.value) else { return nil }
    let index = syllable.value - syllables
    let tail = index % 28
    return [leads + index / 588, vowels + index % 588 / 28, tails + tail]
      .prefix(tail == 0 ? 2 : 3).compactMap(Unicode.Scalar.init)
  }

  static func compose(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
    switch (first.value, second.value) {
    case (0x1100...0x1112, 0x1161...0x1175):
      return Unicode.Scalar(
        syllables + ((first.value - leads) * 21 + second.value - vowels) * 28)
    case (0xAC00...0xD7A3, 0x11A8...0x11C2) where (first.value - syllables) % 28 == 0:
      return Unicode.Scalar(first.value + second.value - tails)
    default:
      return nil
    }
  }
}
