import DejaVuQuantization
import DejaVuCPU
import DejaVuCore

extension Inspection {
  var json: JSONValue {
    [
      "schema": "dejavu/inspect/1",
      "model": .text(model.folder),
      "fingerprint": .text(model.fingerprint),
      "synthetic": .bool(model.isSynthetic),
      "packed": .bool(model.isPacked),
      "dtype": .text(model.format.name),
      "quantization": model.metadata[QuantizedCopy.methodKey].map { .text($0) } ?? .null,
      "architecture": architecture,
      "parameters": .whole(parameterTotal),
      "bytes": .whole(model.totalBytes),
      "parts": parts,
      "warnings": .array(model.warnings.map { .text($0) }),
      "machine": machineObject,
    ]
  }

  private var architecture: JSONValue {
    let a = model.architecture
    return [
      "family": .text(a.family), "layers": .whole(a.layers), "hidden": .whole(a.hidden),
      "heads": .whole(a.heads), "kv_heads": .whole(a.kvHeads), "head_width": .whole(a.headWidth),
      "neurons": .whole(a.neurons), "gated": .bool(a.isGated),
      "activation": .text(a.activation.rawValue), "vocabulary": .whole(a.vocabulary),
      "embedding_width": .whole(a.embeddingWidth), "context": .whole(a.context),
      "normalization": .text(a.normalization.kind.rawValue),
      "block_order": .text(a.blockOrder.rawValue), "tied_head": .bool(a.tiesHead),
      "sliding_window": a.slidingWindow.map { .whole($0) } ?? .null,
    ]
  }

  private var parts: JSONValue {
    .array(
      ParameterCount(model.architecture).parts.map { part in
        [
          "name": .text(part.key), "parameters": .whole(part.count),
          "bytes": .whole(model.bytes[part.key] ?? 0),
        ]
      })
  }

  private var parameterTotal: Int { ParameterCount(model.architecture).total }

  private var machineObject: JSONValue {
    [
      "instruction_set": .text(machine.best.rawValue),
      "instruction_sets": .array(
        machine.instructionSets.filter(\.isAvailable).map { .text($0.set.rawValue) }),
      "threads": .whole(machine.threads),
      "card": .text(machine.card),
      "has_card": .bool(machine.hasCard),
      "huge_pages": machine.hugePages.map { .text($0) } ?? .null,
      "has_bfloat16_products": .bool(machine.best.multipliesBFloat16),
      "prompt_arithmetic": .text(machine.multipliesInBFloat16 ? "bfloat16" : "float32"),
      "weight_bytes": .whole(machine.weightBytes),
      "cache_bytes": .whole(machine.cacheBytes),
      "cache_type": .text(machine.cacheType.rawValue),
      "available_bytes": machine.availableBytes.map { .whole($0) } ?? .null,
      "fits": machine.fits.map { .bool($0) } ?? .null,
    ]
  }
}
