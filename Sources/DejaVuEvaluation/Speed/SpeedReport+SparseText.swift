extension SpeedReport {
  /// One line about what sparse rows follow.
  var sparsityLine: String? {
    guard let sparsity = method.sparsity else { return nil }
    guard let rank = sparsity.rank, let bits = sparsity.bits else {
      return "sparse     plan '\(sparsity.plan)', a window of \(sparsity.window) positions\n"
    }
    return """
      sparse     random predictors of rank \(rank) in \(bits) bits, a window of \
      \(sparsity.window) positions; asked for \(sparsity.mlpDensity.percent) of neurons, \
      \(sparsity.headDensity.percent) of heads

      """
  }

  /// How the sets of neighbouring tokens overlap, and what choosing and settling read.
  var setTable: TextTable {
    var table = TextTable([
      .number("threads"), .number("depth"), .number("neurons again"), .number("asked"),
      .number("heads again"), .number("asked"), .number("choosers MB/token"),
      .number("kept MB/token"), .number("settling ms/token"),
    ])
    for row in decode where row.mode == "sparse" {
      let settling = row.parts.first { $0.part == "settling" }?.milliseconds ?? Figure(nil)
      table.rows.append([
        "\(row.threads)", "\(row.depth)", row.mlpOverlap.percent,
        method.sparsity?.mlpOverlap.percent ?? "-", row.headOverlap.percent,
        method.sparsity?.headOverlap.percent ?? "-", Self.megabytes(row.chooserBytes),
        Figure(row.keptBytes.value.map { $0 / 1e6 }).text(3), settling.text(3),
      ])
    }
    return table
  }

  /// Milliseconds and megabytes of a token, part by part.
  var partTable: TextTable {
    let parts = decode.first { !$0.parts.isEmpty }?.parts.map(\.part) ?? []
    var table = TextTable(
      [.word("mode"), .number("threads"), .number("depth"), .word("what")]
        + parts.map { .number($0) })
    for row in decode where !row.parts.isEmpty {
      let place = [row.mode, "\(row.threads)", "\(row.depth)"]
      table.rows.append(place + ["ms"] + row.parts.map { $0.milliseconds.text(3) })
      table.rows.append(["", "", "", "MB"] + row.parts.map { Self.megabytes($0.bytes) })
    }
    return table
  }
}
