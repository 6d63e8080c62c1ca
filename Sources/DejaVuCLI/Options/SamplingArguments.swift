import ArgumentParser
import DejaVuFormats
import DejaVuModels

/// How tokens are drawn; what is not given comes from the model's `generation_config.json`.
struct SamplingArguments: ParsableArguments {
  /// Numbers above this are not exact in every reader of JSON.
  private static let largestSeed = 1 << 53 - 1

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "0 always takes the likeliest token; higher is more varied (0 to 100).",
      valueName: "number"),
    transform: Numbers.real(0...100))
  var temperature: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Draw from this many likeliest tokens; 0 from all.", valueName: "count"),
    transform: Numbers.whole(0...1 << 24))
  var topK: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Draw from the likeliest tokens that hold this share together (0 to 1).",
      valueName: "share"),
    transform: Numbers.real(0...1))
  var topP: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Draw from tokens at least this share as likely as the likeliest (0 to 1).",
      valueName: "share"),
    transform: Numbers.real(0...1))
  var minP: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Make tokens that came up before less likely; 1 does nothing (0.001 to 1000).",
      valueName: "number"),
    transform: Numbers.real(0.001...1000))
  var repetitionPenalty: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Same seed, same text. Without it one is drawn, and printed.", valueName: "number"),
    transform: Numbers.whole(0...largestSeed))
  var seed: Int?

  /// The options over the model's own suggestions.
  ///
  /// A model that suggests sampling is sampled, another one is greedy; asking for top-k, top-p or
  /// min-p alone samples at the model's temperature, or at 1.
  func options(over config: GenerationConfig) -> SamplingOptions {
    let suggests = config.samples == true
    let narrows = topK != nil || topP != nil || minP != nil
    let own = suggests || narrows ? config.temperature ?? 1 : 0
    return SamplingOptions(
      temperature: temperature ?? own,
      topK: topK ?? (suggests ? config.topK ?? 0 : 0),
      topP: topP ?? (suggests ? config.topP ?? 1 : 1),
      minP: minP ?? 0,
      repetitionPenalty: repetitionPenalty ?? config.repetitionPenalty ?? 1,
      seed: UInt64(seed ?? Int.random(in: 0...Int(UInt32.max))))
  }
}
