extension SpeedReport {
  /// One line about what sparse rows follow.
  var sparsityLine: String? {
    guard let sparsity = method.sparsity else { return nil }
    guard let rank = sparsity.rank, let bits = sparsity.bits else {
      return "sparse     plan '\(sparsity.plan)', a window of \(sparsity.window) positions\n"
    }
    return """
      sparse     random predictors of rank \(rank) in \(bits) bits, rows by \(sparsity.rule ?? "-"), a \
      window of \(sparsity.window) positions

      """
  }

  /// How the sets of neighbouring tokens overlap, and what choosing and settling read.
  var setTable: TextTable {
    var table = TextTable([
      .word("mode"), .number("threads"), .number("depth"),
      .number("neurons again"), .number("asked"),
      .number("heads again"), .number("asked"), .number("choosers MB/token"),
      .number("kept MB/token"), .number("settling ms/token"),
    ])
    for row in decode where row.mode == "sparse" {
      let settling = row.parts.first { $0.part == "settling" }?.milliseconds ?? Figure(nil)
      // Nothing was asked of an axis that nobody chooses.
      let asked = { (came: Figure, asked: Figure?) in
        came.value == nil ? "-" : asked?.percent ?? "-"
      }
      table.rows.append([
        row.name, "\(row.threads)", "\(row.depth)", row.mlpOverlap.percent,
        asked(row.mlpOverlap, method.sparsity?.mlpOverlap), row.headOverlap.percent,
        asked(row.headOverlap, method.sparsity?.headOverlap), Self.megabytes(row.chooserBytes),
        Figure(row.keptBytes.value.map { $0 / 1e6 }).text(3), settling.text(3),
      ])
    }
    return table
  }

  /// Milliseconds, megabytes and arithmetic of a token, part by part.
  var partTable: TextTable {
    let parts = decode.first { !$0.parts.isEmpty }?.parts.map(\.part) ?? []
    var table = TextTable(
      [.word("mode"), .number("threads"), .number("depth"), .word("what")]
        + parts.map { .number($0) })
    for row in decode where !row.parts.isEmpty {
      let place = [row.name, "\(row.threads)", "\(row.depth)"]
      table.rows.append(place + ["ms"] + row.parts.map { $0.milliseconds.text(3) })
      table.rows.append(["", "", "", "MB"] + row.parts.map { Self.megabytes($0.bytes) })
      table.rows.append(["", "", "", "MFLOP"] + row.parts.map { Self.megabytes($0.flops) })
    }
    return table
  }
}

extension SpeedReport.DecodeRow {
  /// The mode, of a sparse row with the shares of neurons and heads that it computed.
  var name: String {
    guard let neurons = mlpDensity.value, let heads = headDensity.value else { return mode }
    return "\(mode) \(Self.short(neurons))/\(Self.short(heads))"
  }

  private static func short(_ share: Double) -> String {
    let percent = (1000 * share).rounded() / 10
    return percent == percent.rounded() ? "\(Int(percent))" : "\(percent)"
  }
}
