package import DejaVuCPU
package import DejaVuCore
package import DejaVuFormats

/// Seeded random weights in a given shape, made in memory: for measuring speed, never quality.
package struct SyntheticModel {
  package typealias Options = SyntheticWeights.Options

  package let model: PackedModel
  package let layout: PackedLayout
  package let memory: AnonymousMemory

  /// Makes the weights in memory, by all threads.
  ///
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``, or what `progress` throws.
  package init(
    shape: ModelShape, options: Options, team: ThreadTeam,
    progress: (LoadingProgress) throws -> Void = { _ in }
  ) throws {
    let architecture = shape.architecture
    let weights = SyntheticWeights(architecture: architecture, options: options)
    let layout = PackedLayout(
      architecture: architecture, types: Self.types(options, layers: architecture.layers))
    let memory = try AnonymousMemory(count: layout.byteCount, what: "synthetic \(shape.name)")
    let copier = try RowCopier(team: team)
    let plan = WeightMap.plan(for: architecture)
    let views = Dictionary(plan.map { ($0.role, $0.view) }, uniquingKeysWith: { $1 })
    for entry in layout.entries {
      let target = memory.base + entry.offset
      if let format = entry.format.groupwise, let view = entry.roles.first.flatMap({ views[$0] }) {
        Self.fill(
          entry, format, columns: view.columns, entry.roles.map { weights.recipe(for: $0) },
          at: target, team: team)
      } else {
        let rows = PackedRows(entry, weights, views)
        copier.fill(target, dtype: entry.dtype, count: entry.shape.reduce(1, *)) {
          first, values in
          rows.fill(values, first: first)
        }
      }
      try progress(
        LoadingProgress(
          bytesDone: entry.offset + entry.byteCount, bytesTotal: layout.byteCount))
    }
    self.layout = layout
    self.memory = memory
    model = layout.model(owner: memory) { UnsafeRawPointer(memory.base + $0.offset) }
  }

  /// What every file and report made from such a model carries.
  package static func metadata(shape: ModelShape, options: Options) -> [String: String] {
    [
      "dejavu.synthetic":
        "\(shape.name), seed \(options.seed), ReLU density \(options.reluDensity)"
    ]
  }
}

/// The padded rows of one packed tensor: weights in turn, zeros behind each row.
private struct PackedRows: Sendable {
  private struct Part {
    let recipe: SyntheticRecipe
    let columns: Int
  }

  private let parts: [Part]
  /// Elements from one row to the next, padding included.
  private let width: Int
  /// Rounds a vector, which is packed in float32, as the checkpoint would.
  private let weights: SyntheticWeights?

  init(
    _ entry: PackedLayout.Entry, _ weights: SyntheticWeights, _ views: [WeightRole: TensorView]
  ) {
    let isVector = entry.shape.count == 1
    width = entry.shape[entry.shape.count - 1]
    self.weights = isVector ? weights : nil
    parts = entry.roles.map { role in
      guard let view = views[role] else { preconditionFailure("no weight fills \(entry.name)") }
      return Part(
        recipe: weights.recipe(for: role), columns: isVector ? view.rows : view.columns)
    }
  }

  /// Elements `first...` of the tensor.
  func fill(_ values: UnsafeMutableBufferPointer<Float>, first: Int) {
    var done = 0
    while done < values.count {
      let (row, column) = (first + done).quotientAndRemainder(dividingBy: width)
      let count = min(width - column, values.count - done)
      let part = parts[row % parts.count]
      let real = min(max(part.columns - column, 0), count)
      let (end, padded) = (done + real, done + count)
      part.recipe.fill(
        UnsafeMutableBufferPointer(rebasing: values[done..<end]),
        first: row / parts.count * part.columns + column)
      UnsafeMutableBufferPointer(rebasing: values[end..<padded]).update(repeating: 0)
      done += count
    }
    guard let weights else { return }
    for i in values.indices { values[i] = weights.rounded(values[i]) }
  }
}
