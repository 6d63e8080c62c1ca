import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels

/// What `generate` says about a text: one line for people, one object for programs.
struct GenerationFigures {
  let model: LanguageModel
  let folder: String
  let sampling: SamplingOptions
  let cpu: CPUOptions
  let choice: SparsityChoice
  let loadTime: Duration
  /// From the start of the command, loading included.
  let timeToFirstToken: Duration
  let report: GenerationReport

  /// One line for people.
  ///
  ///     128 tokens, 54.2 tokens/s, 190 MB a token, first token after 0.31 s (0.25 s of it loading)
  var line: String {
    var parts = ["\(report.tokens.count) token\(report.tokens.count == 1 ? "" : "s")"]
    if report.tokensPerSecond > 0 {
      parts.append("\(Quantity.decimals(report.tokensPerSecond, 1)) tokens/s")
    }
    if report.bytesPerToken > 0 { parts.append("\(Quantity.bytes(report.bytesPerToken)) a token") }
    if choice.mode != .dense {
      parts.append("\(Quantity.decimals(100 * report.weightShare, 1)) % of the weights read")
    }
    if choice.mode == .sparse {
      parts.append(
        "plan '\(choice.sparsity?.plan.name ?? "")': "
          + "\(Quantity.decimals(100 * density, 1)) % of rows, "
          + "\(Quantity.decimals(100 * report.tally.neuronDensity, 1)) % of neurons, "
          + "\(Quantity.decimals(100 * report.tally.headDensity, 1)) % of heads")
    }
    parts.append(
      "first token after \(Quantity.decimals(Quantity.seconds(timeToFirstToken), 2)) s "
        + "(\(Quantity.decimals(Quantity.seconds(loadTime), 2)) s of it loading)")
    if sampling.temperature > 0 { parts.append("seed \(sampling.seed)") }
    if model.loaded.isSynthetic { parts.append("synthetic weights") }
    return parts.joined(separator: ", ")
  }

  /// Share of rows computed, each counting by its bytes.
  private var density: Double { report.tally.density(of: model.loaded.model) }

  var json: JSONValue {
    let speed = report.tokensPerSecond
    return [
      "schema": "dejavu/generate/1",
      "text": .text(report.text),
      "prompt_tokens": .whole(report.promptTokens),
      "completion_tokens": .whole(report.tokens.count),
      "token_ids": .array(report.tokens.map { .whole(Int($0)) }),
      "finish_reason": .text(report.finishReason.rawValue),
      "tokens_per_second": speed > 0 ? .real(speed) : .null,
      "ms_per_token": ["mean": speed > 0 ? .real(1000 / speed) : .null],
      "prompt_ms": .milliseconds(report.promptTime),
      "time_to_first_token_ms": .milliseconds(timeToFirstToken),
      "load_ms": .milliseconds(loadTime),
      "bytes_per_token": report.bytesPerToken > 0 ? .real(report.bytesPerToken) : .null,
      "model": .text(folder),
      "fingerprint": .text(model.loaded.fingerprint),
      "synthetic": .bool(model.loaded.isSynthetic),
      "plan": choice.sparsity.map { .text($0.plan.name) } ?? .null,
      "reason": choice.reason.map { .text($0) } ?? .null,
      "density": .real(density),
      "mlp_density": .real(report.tally.neuronDensity),
      "head_density": .real(report.tally.headDensity),
      "byte_share": .real(report.weightShare),
      "mode": .text(choice.mode.rawValue),
      "backend": .text(model.backendName),
      "threads": .whole(cpu.threads),
      "instruction_set": .text(cpu.instructionSet.rawValue),
      "activation_bits": model.roundsActivations ? .whole(cpu.activationBits.rawValue) : .null,
      "temperature": .real(sampling.temperature),
      "seed": sampling.temperature > 0 ? .whole(Int(clamping: sampling.seed)) : .null,
    ]
  }
}
