import DejaVuFormats
import Testing

@Suite struct `Generation configurations` {
  private func read(_ text: String, vocabulary: Int = 100) throws -> GenerationConfig {
    let folder = try TemporaryFolder()
    return try GenerationConfig(
      path: folder.write("generation_config.json", text), vocabulary: vocabulary)
  }

  @Test func `every field reads as its own`() throws {
    let config = try read(
      """
      {"bos_token_id":1,"eos_token_id":[2,3],"do_sample":true,"temperature":0.6,"top_p":0.9,
       "top_k":50,"repetition_penalty":1.1,"max_new_tokens":256}
      """)
    #expect(config.bosToken == 1)
    #expect(config.eosTokens == [2, 3])
    #expect(config.samples == true)
    #expect(config.temperature == 0.6)
    #expect(config.topP == 0.9)
    #expect(config.topK == 50)
    #expect(config.repetitionPenalty == 1.1)
    #expect(config.maximumNewTokens == 256)
    #expect(config.warnings == [])
  }

  @Test func `what the file does not say, or says is null, stays open`() throws {
    let config = try read("{\"eos_token_id\":null,\"temperature\":null,\"do_sample\":null}")
    #expect(config.bosToken == nil && config.eosTokens == [] && config.temperature == nil)
    #expect(config.samples == nil)
    #expect(try read("{\"eos_token_id\":7}").eosTokens == [7])
  }

  @Test func `tokens outside the vocabulary are dropped with a warning`() throws {
    let config = try read("{\"bos_token_id\":100,\"eos_token_id\":[99,100]}")
    #expect(config.bosToken == nil && config.eosTokens == [99])
    #expect(config.warnings.count == 2)
    let golden = try Checkpoint.open(folder: Golden.folder("tiny-gpt2"))
    #expect(golden.generation.bosToken == nil && golden.generation.eosTokens == [])
    #expect(golden.warnings.allSatisfy { $0.contains("outside the vocabulary of 320") })
    #expect(!golden.warnings.isEmpty)
  }

  @Test func `a checkpoint without the file has the tokens of its configuration`() throws {
    let folder = try TemporaryFolder()
    try folder.copy("config.json", of: "tiny-opt")
    try folder.copy("model.safetensors", of: "tiny-opt")
    let generation = try Checkpoint.open(folder: folder.path).generation
    #expect(generation.bosToken == 2 && generation.eosTokens == [2])
    try folder.write("generation_config.json", "{\"eos_token_id\":5}")
    let mixed = try Checkpoint.open(folder: folder.path).generation
    #expect(mixed.bosToken == 2 && mixed.eosTokens == [5])
  }

  @Test(arguments: [
    "\"bos_token_id\":-1", "\"eos_token_id\":[2,-1]", "\"eos_token_id\":[null]",
    "\"eos_token_id\":\"2\"", "\"bos_token_id\":4294967296", "\"do_sample\":1",
    "\"temperature\":-1", "\"temperature\":1e400", "\"temperature\":\"hot\"", "\"top_p\":1.5",
    "\"top_p\":-0.1", "\"top_k\":-1", "\"top_k\":2.5", "\"repetition_penalty\":0",
    "\"max_new_tokens\":0", "\"max_new_tokens\":99999999999999999999",
  ])
  func `a value outside its range is refused by name`(member: String) throws {
    let folder = try TemporaryFolder()
    let text = message(in: folder) { _ = try read("{\(member)}") }
    #expect(
      text.hasPrefix(
        "\(member.prefix { $0 != ":" })' in".replacing("\"", with: "'").replacing("''", with: "'")))
    #expect(text.contains("but must be"))
  }
}
