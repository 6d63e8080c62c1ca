import Foundation

extension SpeedReport {
  /// The report as tables.
  package var text: String {
    var parts = [heading, yardsticks]
    if !decode.isEmpty { parts.append("decode\n" + decodeTable.text) }
    if decode.contains(where: { $0.mode == "sparse" }) { parts.append("sets\n" + setTable.text) }
    if decode.contains(where: { !$0.parts.isEmpty }) { parts.append("parts\n" + partTable.text) }
    if !prompt.isEmpty { parts.append("prompt\n" + promptTable.text) }
    parts.append("memory\n" + memoryTable.text)
    if !notes.isEmpty { parts.append(notes.map { "note: \($0)\n" }.joined()) }
    return parts.joined(separator: "\n")
  }

  private var heading: String {
    let weights = model.recipe.map { "synthetic weights (\($0))" } ?? "real weights"
    return """
      machine    \(machine.processor), \(machine.cores) cores, \(machine.instructionSet)\(rounding)
      model      \(model.shape), \(model.dtype), \(Self.gigabytes(model.weightBytes)), \(weights)
      method     medians of \(method.rounds) rounds of \(method.tokensPerRun) tokens; ranges are \
      lowest–highest round

      """ + (sparsityLine ?? "")
  }

  private var rounding: String {
    machine.activationBits.map { ", activations in \($0) bits" } ?? ""
  }

  /// Bandwidth and product rate of the same run.
  private var yardsticks: String {
    var table = TextTable([
      .word("yardstick"), .number("threads"), .word("unit"), .number("median"), .number("range"),
      .number("samples"), .word("of"),
    ])
    for row in bandwidth {
      table.rows.append([
        "bandwidth", "\(row.threads)", "GB/s", row.median.text(2),
        "\(row.lowest.text(2))–\(row.highest.text(2))", "\(row.probes)",
        "the better of plain and prefetching reads",
      ])
    }
    for row in sgemm {
      table.rows.append([
        "sgemm", "\(row.threads)", "GFLOP/s", row.median.text(1),
        "\(row.lowest.text(1))–\(row.highest.text(1))", "\(method.rounds)",
        "\(row.tokens) × \(row.columns) × \(row.inner), \(machine.blas ?? "")",
      ])
    }
    let missing = machine.blasMissing.map { "sgemm      not measured: \($0)\n" } ?? ""
    return table.text + missing
  }

  private var decodeTable: TextTable {
    let isSparse = decode.contains { $0.speedupOverDense.value != nil }
    let hasDensity = decode.contains { $0.mlpDensity.value != nil || $0.headDensity.value != nil }
    var columns: [TextTable.Column] = [
      .word("shape"), .word("weights"), .word("mode"), .number("threads"), .number("depth"),
      .number("ms/token"), .number("p95"), .number("tokens/s"), .number("MB/token"),
      .number("GB/s"), .number("bandwidth"), .number("by round"), .number("range"),
    ]
    if isSparse { columns += [.number("speedup"), .number("bytes")] }
    if hasDensity { columns += [.number("neurons"), .number("heads")] }
    var table = TextTable(columns)
    for row in decode {
      var cells = [
        row.shape, row.synthetic ? "synthetic" : "real", row.mode, "\(row.threads)",
        "\(row.depth)", row.milliseconds.median.text(2), row.milliseconds.p95.text(2),
        row.tokensPerSecond.text(2), Self.megabytes(row.bytesPerToken), row.rate.text(2),
        row.bandwidthShare.percent, row.shareByRound.median.percent, row.shareByRound.percent,
      ]
      if isSparse { cells += [row.speedupOverDense.text(2), row.byteShare.percent] }
      if hasDensity { cells += [row.mlpDensity.percent, row.headDensity.percent] }
      table.rows.append(cells)
    }
    return table
  }

  private var promptTable: TextTable {
    let hasError = prompt.contains { $0.logitError.value != nil }
    var columns: [TextTable.Column] = [
      .word("shape"), .word("weights"), .number("threads"), .number("tokens"), .word("arithmetic"),
      .number("ms"), .number("p95"), .number("tokens/s"), .number("GFLOP/s"), .number("of sgemm"),
      .number("by round"), .number("range"),
    ]
    if hasError { columns.append(.number("logit error")) }
    var table = TextTable(columns)
    for row in prompt {
      var cells = [
        row.shape, row.synthetic ? "synthetic" : "real", "\(row.threads)", "\(row.tokens)",
        row.arithmetic, row.milliseconds.median.text(1), row.milliseconds.p95.text(1),
        row.tokensPerSecond.text(1), row.gflops.text(1), row.sgemmShare.percent,
        row.shareByRound.median.percent, row.shareByRound.percent,
      ]
      if hasError { cells.append(row.logitError.text(4)) }
      table.rows.append(cells)
    }
    return table
  }

  private var memoryTable: TextTable {
    var table = TextTable([.word("what"), .word("weights"), .number("threads"), .word("figure")])
    for row in memory.faultIn {
      table.rows.append([
        "fresh memory", "-", "\(row.threads)",
        "\(row.median.text(2)) GB/s (\(row.lowest.text(2))–\(row.highest.text(2)))",
      ])
    }
    if let packing = memory.packing {
      table.rows.append([
        "packing", model.weights, "\(packing.threads)",
        "\(packing.rate.text(2)) GB/s, \(Self.gigabytes(packing.bytes)) in "
          + "\(packing.milliseconds.text(0)) ms, "
          + "\(packing.faultInShare.text(2)) of the rate of fresh memory",
      ])
    }
    for row in memory.firstToken {
      table.rows.append([
        "first token", model.weights, "\(row.threads)",
        "\(row.milliseconds.text(0)) ms from the \(row.source == "packed" ? "packed file" : row.source), "
          + "\(row.loading.text(0)) ms of it loading",
      ])
    }
    let peak = memory.peakBytes.map(Self.gigabytes) ?? "-"
    table.rows.append([
      "peak resident", model.weights, "-",
      "\(peak), \(memory.peakShare.text(3)) × (\(Self.gigabytes(memory.weightBytes)) weights + "
        + "\(Self.gigabytes(memory.cacheBytes)) cache)",
    ])
    return table
  }

  private static func gigabytes(_ bytes: Int) -> String {
    String(format: "%.3f GB", Double(bytes) / 1e9)
  }

  static func megabytes(_ bytes: Figure) -> String {
    Figure(bytes.value.map { $0 / 1e6 }).text(1)
  }
}
