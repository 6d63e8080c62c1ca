import DejaVu

func tellStory() async throws {
  // The folder of a Hugging Face checkpoint; here the model that comes with the package.
  guard let path = DefaultModel.path else { return }
  let model = try LanguageModel(path: path)
  print("\(model.architecture.layers) layers, \(model.architecture.context) positions")

  let options = GenerationOptions(
    maxTokens: 48,
    sampling: SamplingOptions(temperature: 0.8, topP: 0.95, seed: 7),
    stop: ["\n\n"])

  // Cancelling the task that reads the stream stops the computation at the next token.
  for try await piece in model.generate("The old man", options: options) {
    print(piece, terminator: "")
  }
  print()
}
