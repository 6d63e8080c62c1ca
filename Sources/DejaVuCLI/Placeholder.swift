import DejaVu
import DejaVuModels
@main struct Main { static func main() throws {
  let m = try LanguageModel(path: CommandLine.arguments[1])
  let r = try TextGenerator(model: m).run(prompt: CommandLine.arguments[2], options: GenerationOptions(maxTokens: 60), onPiece: { print($0, terminator: ""); return true })
  print("\n", r.tokensPerSecond, r.promptTokens, r.bytesPerToken, r.tokens)
} }
