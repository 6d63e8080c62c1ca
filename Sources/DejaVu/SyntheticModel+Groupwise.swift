import DejaVuCPU
import DejaVuCore
import DejaVuFormats

/// Random codes: every row is its role's spread cut into as many steps as there are codes.
extension SyntheticModel {
  /// What the tensors of a model are stored in: blocks and head as the options say; the embedding is the
  /// head, as in all shapes.
  static func types(_ options: Options, layers: Int) -> PackedLayout.Types {
    var types = PackedLayout.Types(uniform: options.dtype, layers: layers)
    guard let groupwise = options.groupwise,
      let head = GroupwiseFormat(bits: options.headBits, group: groupwise.group)
    else { return types }
    types.attention = Array(repeating: .groupwise(groupwise), count: layers)
    types.mlp = types.attention
    (types.embedding, types.head) = (.groupwise(head), .groupwise(head))
    return types
  }

  /// Fills a groupwise tensor, rows shared among the team.
  static func fill(
    _ entry: PackedLayout.Entry, _ format: GroupwiseFormat, columns: Int,
    _ recipes: [SyntheticRecipe], at target: UnsafeMutableRawPointer, team: ThreadTeam
  ) {
    let (rows, bytes) = (entry.shape.dropLast().reduce(1, *), entry.rowBytes)
    let (codes, groups) = (format.codeBytes(columns), format.groups(columns))
    let piece = max((1 << 20) / bytes, 1)
    nonisolated(unsafe) let target = target
    team.run(chunks: (rows + piece - 1) / piece) { chunk in
      for row in chunk * piece..<min((chunk + 1) * piece, rows) {
        let (recipe, start) = (recipes[row % recipes.count], target + row * bytes)
        // Rows are multiples of 4 bytes, and codes of 16.
        for word in 0..<codes / 8 {
          let counter = UInt64(row * (codes / 8) + word)
          let bits = SplitMix64.mixed(recipe.seed &+ counter &* SplitMix64.increment)
          start.storeBytes(of: bits.littleEndian, toByteOffset: 8 * word, as: UInt64.self)
        }
        let scale = HalfPrecision.half(recipe.spread / Float(1 << format.bits))
        for group in 0..<groups {
          start.storeBytes(
            of: scale.littleEndian, toByteOffset: codes + 2 * group, as: UInt16.self)
        }
        let end = codes + 2 * groups
        (start + end).initializeMemory(as: UInt8.self, repeating: 0, count: bytes - end)
      }
    }
  }
}
