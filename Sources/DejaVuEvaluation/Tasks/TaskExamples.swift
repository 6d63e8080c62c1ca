import DejaVuCore

/// Draws items and examples: the same from a seed on every machine.
struct TaskExamples {
  let file: TaskFile
  let shots: Int
  let seed: UInt64

  /// - Throws: ``TaskError/tooFewExamples(task:asked:found:)``.
  init(file: TaskFile, shots: Int, seed: UInt64) throws(TaskError) {
    self.file = file
    self.shots = shots
    self.seed = seed
    // An item is no example for itself.
    let found = file.training.isEmpty ? file.items.count - 1 : file.training.count
    guard shots <= found else {
      throw .tooFewExamples(task: file.name, asked: shots, found: found)
    }
  }

  /// `count` items of the file, in the file's order; nil takes all.
  func items(_ count: Int?) -> [TaskItem] {
    guard let count, count < file.items.count else { return file.items }
    var generator = SplitMix64(state: seed)
    return Self.draw(count, of: file.items, using: &generator).sorted { $0.index < $1.index }
  }

  /// The text in front of an item: `shots` solved items, others for every item.
  func text(before item: TaskItem) -> String {
    guard shots > 0 else { return "" }
    var generator = SplitMix64(
      state: SplitMix64.mixed(seed) &+ UInt64(item.index) &* SplitMix64.increment)
    let pool =
      file.training.isEmpty ? file.items.filter { $0.index != item.index } : file.training
    return Self.draw(shots, of: pool, using: &generator).map(\.example).joined()
  }

  /// The first `count` of a shuffled pool, in the order drawn.
  private static func draw(
    _ count: Int, of pool: [TaskItem], using generator: inout SplitMix64
  ) -> [TaskItem] {
    var pool = pool
    for place in 0..<count {
      pool.swapAt(place, place + generator.index(pool.count - place))
    }
    return Array(pool.prefix(count))
  }
}
