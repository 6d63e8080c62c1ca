import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels
import Foundation
import Testing

/// Runs one after another: each uses all cores for a moment.
@Suite(.serialized)
struct GoldenTests {
  @Test
  func `ten architectures have goldens`() {
    #expect(Golden.tiny.count == 10)
  }

  @Test(arguments: Golden.committed, InstructionSet.available)
  func `the prompt path gives transformers' logits and losses`(
    golden: Golden, instructionSet: InstructionSet
  ) throws {
    try checkPromptPath(golden, .exactCache(instructionSet))
  }

  @Test(arguments: Golden.committed, [1, 5, 48, 61])
  func `a prompt may be cut into batches of any size`(golden: Golden, batch: Int) throws {
    try checkPromptPath(golden, .exactCache(batchCapacity: batch), longest: 64)
  }

  @Test(arguments: Golden.committed, InstructionSet.available)
  func `the decode path gives transformers' logits and losses`(
    golden: Golden, instructionSet: InstructionSet
  ) throws {
    // Plain C takes a minute for the long texts of a trained model.
    let longest = instructionSet == .scalar ? 64 : Int.max
    try checkDecodePath(golden, .exactCache(instructionSet), longest: longest)
  }

  @Test(arguments: Golden.committed, InstructionSet.available)
  func `a prompt may be continued token by token`(
    golden: Golden, instructionSet: InstructionSet
  ) throws {
    try checkSplits(golden, .exactCache(instructionSet))
  }

  @Test(arguments: Golden.committed, InstructionSet.available)
  func `the likeliest tokens are transformers' but at ties`(
    golden: Golden, instructionSet: InstructionSet
  ) throws {
    try checkGreedy(golden, .exactCache(instructionSet))
  }

  @Test(arguments: Golden.committed, InstructionSet.available)
  func `the number of threads changes no bit`(
    golden: Golden, instructionSet: InstructionSet
  ) throws {
    let texts = try golden.cases().map { $0.ids.prefix(96) }
    let alone = try bits(golden, .exactCache(instructionSet, threads: 1), texts)
    for threads in [2, 3] {
      #expect(try bits(golden, .exactCache(instructionSet, threads: threads), texts) == alone)
    }
  }

  @Test(arguments: Golden.committed)
  func `a float16 cache keeps the loss of a text`(golden: Golden) throws {
    var options = CPUOptions.exactCache()
    options.cacheType = .float16
    let engine = try golden.engine(options)
    for text in try golden.cases() {
      for answer in [try prompted(engine, text), try decoded(engine, text)] {
        #expect(answer.meanLossDifference < GoldenTolerance.losses)
        #expect(answer.lossDifference < GoldenTolerance.roundedCacheLosses)
      }
    }
  }

  @Test(.enabled(if: Golden.larger != nil, "DEJAVU_TEST_MODELS names no folder"))
  func `the larger trained model agrees in every way`() throws {
    let golden = try #require(Golden.larger)
    for instructionSet in InstructionSet.available where instructionSet != .scalar {
      let options = CPUOptions.exactCache(instructionSet)
      try checkPromptPath(golden, options)
      try checkDecodePath(golden, options)
      try checkSplits(golden, options)
      try checkGreedy(golden, options)
    }
    try checkPromptPath(golden, .exactCache(.scalar), longest: 64)
  }
}

// What is compared --------------------------------------------------------------------------------

private func checkPromptPath(
  _ golden: Golden, _ options: CPUOptions, longest: Int = .max
) throws {
  let engine = try golden.engine(options)
  for text in try golden.cases() where text.ids.count <= longest {
    try check(try prompted(engine, text), "\(golden.name) prompt \(options.instructionSet)")
  }
}

private func checkDecodePath(
  _ golden: Golden, _ options: CPUOptions, longest: Int = .max
) throws {
  let engine = try golden.engine(options)
  for text in try golden.cases() where text.ids.count <= longest {
    try check(try decoded(engine, text), "\(golden.name) decode \(options.instructionSet)")
  }
}

private func checkSplits(_ golden: Golden, _ options: CPUOptions) throws {
  let engine = try golden.engine(options)
  for text in try golden.cases() where text.ids.count > 1 {
    for last in Set([1, text.ids.count / 2, min(text.ids.count - 1, 33)]) where last <= 64 {
      let answer = try split(engine, text, at: text.ids.count - last)
      try check(answer, "\(golden.name) split \(options.instructionSet)")
    }
  }
}

private func check(_ answer: Answer, _ what: String) throws {
  if ProcessInfo.processInfo.environment["DEJAVU_PRINT_DIFFERENCES"] != nil {
    print("difference", what, answer.logitDifference, answer.lossDifference)
  }
  #expect(answer.logitDifference < GoldenTolerance.logits)
  #expect(answer.lossDifference < GoldenTolerance.losses)
}

/// Teacher-forced on the golden's own continuation.
private func checkGreedy(_ golden: Golden, _ options: CPUOptions) throws {
  let engine = try golden.engine(options)
  for text in try golden.cases() {
    let session = try engine.makeSession(capacity: text.ids.count + text.greedy.count)
    var next: [Float] = []
    try session.run(text.ids[...], wanted: .last) { next = Array($1) }
    for token in text.greedy {
      let best = next.withUnsafeBufferPointer { argmax($0) }
      #expect(
        best == Int(token) || next[best] - next[Int(token)] < GoldenTolerance.tie,
        "\(best) stands above \(token) by \(next[best] - next[Int(token)])")
      next = Array(try session.decode(token))
    }
  }
}

private func prompted(_ engine: Engine, _ text: GoldenCase) throws -> Answer {
  var answer = Answer(to: text)
  let session = try engine.makeSession(capacity: text.ids.count)
  try session.run(text.ids[...], wanted: .all) { answer.record($0, $1) }
  return answer
}

private func decoded(_ engine: Engine, _ text: GoldenCase) throws -> Answer {
  try split(engine, text, at: 0)
}

/// The first `count` tokens as a prompt, the rest one by one.
private func split(_ engine: Engine, _ text: GoldenCase, at count: Int) throws -> Answer {
  var answer = Answer(to: text)
  let session = try engine.makeSession(capacity: text.ids.count)
  try session.run(text.ids[..<count], wanted: .all) { answer.record($0, $1) }
  for position in count..<text.ids.count {
    answer.record(position, try session.decode(text.ids[position]))
  }
  return answer
}

/// Every logit of the texts, first as prompts, then decoding on.
private func bits(
  _ golden: Golden, _ options: CPUOptions, _ texts: [ArraySlice<TokenID>]
) throws -> [[Float]] {
  let engine = try golden.engine(options)
  var rows: [[Float]] = []
  for text in texts {
    let session = try engine.makeSession(capacity: text.count + 3)
    try session.run(text, wanted: .all) { rows.append(Array($1)) }
    for token in text.prefix(3) { rows.append(Array(try session.decode(token))) }
  }
  return rows
}
