import DejaVuQuantization
import DejaVuCPU
import DejaVuCore
import DejaVuFormats

/// What `inspect` prints: a model, and what this machine would do with it.
struct Inspection {
  let model: ModelDescription
  let machine: MachineDescription
  private let count: ParameterCount

  init(folder: String) throws {
    model = try ModelDescription(folder: folder)
    machine = MachineDescription(for: model)
    count = ParameterCount(model.architecture)
  }
}

extension Inspection {
  /// Lines of two columns.
  var text: String {
    let rows = modelRows + partRows + [("", "")] + machineRows
    let lines = rows.map { title, value in
      title.isEmpty && value.isEmpty
        ? "" : title.padded(to: 18) + value
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private var modelRows: [(String, String)] {
    let a = model.architecture
    let groups = a.kvHeads == a.heads ? "" : " in \(a.kvHeads) key/value groups"
    var rows = [
      ("model", escaped(model.folder)),
      ("architecture", "\(a.family), \(Self.order(a)), \(a.activation.rawValue)"),
      (
        "layers",
        "\(a.layers) × (\(a.heads) heads of \(a.headWidth)\(groups), "
          + "\(a.neurons)\(a.isGated ? " gated" : "") neurons)"
      ),
      (
        "width",
        "\(a.hidden)"
          + (a.projectsEmbedding ? ", embeddings of \(a.embeddingWidth) projected in and out" : "")
      ),
      ("vocabulary", "\(a.vocabulary), \(a.tiesHead ? "head tied to the embedding" : "own head")"),
      ("context", "\(a.context) positions, \(Self.positions(a))"),
      (
        "weights",
        model.formats.map(\.format.name).joined(separator: " and ") + quantization
          + (model.isPacked ? ", packed: mapped and used in place" : ", packed while loading")
      ),
      ("fingerprint", model.fingerprint),
    ]
    if model.isSynthetic { rows.append(("synthetic", "random weights: only speed means anything")) }
    rows += model.warnings.map { ("warning", $0) }
    return rows
  }

  /// By which method codes were found.
  private var quantization: String {
    model.metadata[QuantizedCopy.methodKey].map { " by \(escaped($0))" } ?? ""
  }

  private var partRows: [(String, String)] {
    let parts = count.parts.map { ("  " + $0.title, $0.count, model.bytes[$0.key] ?? 0) }
    let rows = [("parameters", count.total, model.totalBytes)] + parts
    return rows.map { title, number, bytes in
      let share = Double(number) / Double(max(count.total, 1)) * 100
      return (
        title,
        Quantity.grouped(number).padded(to: 18, left: true)
          + "\(Quantity.decimals(share, 1)) %".padded(to: 9, left: true)
          + Quantity.bytes(bytes).padded(to: 11, left: true)
      )
    }
  }

  private var machineRows: [(String, String)] {
    let sets = machine.instructionSets.map { "\($0.isAvailable ? "" : "no ")\($0.set.rawValue)" }
    let memory = machine.availableBytes.map { ", \(Quantity.bytes($0)) available" } ?? ""
    let verdict = machine.fits == false ? ": TOO LITTLE" : ""
    return [
      ("kernels", "\(machine.best.rawValue), the fastest of: \(sets.joined(separator: ", "))"),
      ("threads", "\(machine.threads), one per core"),
      ("card", machine.card),
      (
        "memory",
        "\(Quantity.bytes(machine.weightBytes)) of weights and "
          + "\(Quantity.bytes(machine.cacheBytes)) of \(machine.cacheType.rawValue) cache at full "
          + "context\(memory)\(verdict)"
      ),
      ("huge pages", hugePages),
      ("prompts", prompts),
    ]
  }

  private var hugePages: String {
    switch machine.hugePages {
    case _ where model.isPacked: "not used: weights are mapped from the packed file"
    case "always", "madvise": "used (the system says \(machine.hugePages ?? ""))"
    case let word?: "not used: the system says \(word)"
    case nil: "not known on this system"
    }
  }

  private var prompts: String {
    let arithmetic =
      machine.multipliesInBFloat16
      ? "bfloat16 products (bfloat16 weights, and the machine has them)"
      : machine.best.multipliesBFloat16
        ? "float32 products (the machine has bfloat16 products, for bfloat16 weights)"
        : "float32 products (the machine has no bfloat16 products)"
    return arithmetic + ", own kernels, no OpenBLAS"
  }

  private static func order(_ a: Architecture) -> String {
    let norm = a.normalization.kind == .layer ? "LayerNorm" : "RMSNorm"
    return switch a.blockOrder {
    case .preNorm: "\(norm) before each half"
    case .postNorm: "\(norm) after each half"
    case .parallel: "\(norm), both halves in parallel"
    }
  }

  private static func positions(_ a: Architecture) -> String {
    let window = a.slidingWindow.map { ", attention sees the last \($0)" } ?? ""
    return switch a.positions {
    case .learned(let offset): "learned\(offset == 0 ? "" : " (offset \(offset))")\(window)"
    case .rotary(let rotary): "rotary (\(rotary.width) of \(a.headWidth) lanes)\(window)"
    case .alibi: "ALiBi\(window)"
    }
  }
}

extension String {
  /// Filled with spaces to `width` characters, at the end or on the left.
  func padded(to width: Int, left: Bool = false) -> String {
    let spaces = String(repeating: " ", count: max(width - count, 0))
    return left ? spaces + self : self + spaces
  }
}
