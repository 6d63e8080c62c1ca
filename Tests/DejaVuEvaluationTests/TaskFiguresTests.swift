import DejaVuEvaluation
import DejaVuModels
import Foundation
import Testing

/// Figures of answers whose scores are known.
struct TaskFiguresTests {
  private func answer(
    _ values: [Double], lengths: [Int] = [1, 1], gold: Int, index: Int = 0
  ) -> TaskAnswer {
    let item = TaskItem(
      index: index,
      form: .answers(
        question: "Q", answers: lengths.map { String(repeating: "é", count: $0) }, gold: gold))
    return TaskAnswer(
      item: item,
      scores: values.map { ContinuationScore(logProbability: $0, isGreedy: false, tokens: 1) })
  }

  private func figures(
    _ answers: [TaskAnswer], dense: [TaskAnswer]? = nil, task: TaskName? = .piqa
  ) -> TaskFigures {
    TaskFigures(task: task, isNormalized: true, answers: answers, dense: dense ?? answers)
  }

  @Test func `the likeliest choice answers, and the likeliest per code point beside it`() {
    let one = answer([-4, -5], lengths: [2, 5], gold: 1)
    #expect(one.choice == 0 && one.normalizedChoice == 1)
    #expect(!one.isRight && one.isRightNormalized)
    // Of equals the first, as numpy's argmax has it.
    #expect(answer([-3, -3], gold: 1).choice == 0)
  }

  @Test func `accuracy has the standard error of a mean`() {
    let answers = [0, 0, 0, 1].map { answer([-1, -2], gold: $0) }
    let figures = figures(answers)
    #expect(figures.accuracy.value == 0.75)
    // Deviations of 1, 1, 1, 0: √((3/16 · 4 … ) / 3) / √4 = 0.25.
    #expect(abs((figures.accuracy.standardError ?? 0) - 0.25) < 1e-12)
    #expect(figures.chance == 0.5 && !figures.isInformative)
    #expect(figures.flips == 0 && figures.difference.mean == 0)
  }

  @Test func `a task is informative only above chance by two errors`() {
    func accuracy(right: Int, of count: Int) -> TaskFigures {
      figures((0..<count).map { answer([-1, -2], gold: $0 < right ? 0 : 1) })
    }
    #expect(!accuracy(right: 59, of: 100).isInformative)
    #expect(accuracy(right: 60, of: 100).isInformative)
    #expect(!accuracy(right: 0, of: 100).isInformative)
    #expect(!accuracy(right: 1, of: 1).isInformative)
  }

  @Test func `flips count changed answers, right or wrong`() {
    let dense = [0, 1, 1, 0].map { answer([-1, -2], gold: $0) }
    let other = [[-2.0, -1], [-2, -1], [-1, -2], [-1, -2]].enumerated().map {
      answer($1, gold: dense[$0].item.gold)
    }
    let found = figures(other, dense: dense)
    #expect(found.flips == 0.5)
    // One right answer was lost and another won.
    #expect(found.difference.mean == 0)
    #expect(found.difference.lowest < 0 && found.difference.highest > 0)
  }

  @Test func `a word counts when greedy decoding gives it`() {
    let items = [(-1.0, true), (-3.0, false)].map { value, isGreedy in
      TaskAnswer(
        item: TaskItem(index: 0, form: .word(text: "a", word: " b")),
        scores: [ContinuationScore(logProbability: value, isGreedy: isGreedy, tokens: 2)])
    }
    let found = TaskFigures(task: .lambada, isNormalized: false, answers: items, dense: items)
    #expect(found.accuracy.value == 0.5 && found.chance == 0 && found.normalizedAccuracy == nil)
    #expect(abs((found.perplexity?.value ?? 0) - exp(2)) < 1e-12)
    #expect(abs((found.perplexity?.standardError ?? 0) - exp(2)) < 1e-12)
  }

  @Test func `F1 of CB is the mean over its three answers`() {
    let answers = [(0, 0), (0, 1), (1, 1), (0, 2)].map { choice, gold in
      answer((0..<3).map { $0 == choice ? -1 : -2 }, lengths: [1, 1, 1], gold: gold)
    }
    let found = figures(answers, task: .cb)
    // 2·1/(3+1), 2·1/(1+2), 0.
    #expect(abs((found.f1 ?? 0) - (0.5 + 2.0 / 3) / 3) < 1e-12)
    #expect(figures(answers, task: .piqa).f1 == nil)
  }

  @Test func `the paired bootstrap has the spread of the items' differences`() {
    let first = (0..<400).map { $0 % 4 == 0 ? 1.0 : 0 }
    let second = first.map { _ in 0.0 }
    let found = PairedDifference(first, second)
    #expect(found.mean == 0.25)
    let error = (0.25 * 0.75 / 400).squareRoot()
    #expect(abs(found.lowest - (0.25 - 1.96 * error)) < error / 4)
    #expect(abs(found.highest - (0.25 + 1.96 * error)) < error / 4)
    #expect(PairedDifference(first, second) == found)
    #expect(PairedDifference(first, first).highest == 0)
  }

  @Test func `a journal keeps scores, cuts a torn line and refuses a strange one`() throws {
    let path = FileManager.default.temporaryDirectory.path + "/dejavu-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: path) }
    let scores = [ContinuationScore(logProbability: -1.0 / 3, isGreedy: true, tokens: 3)]
    do {
      let journal = try ScoreJournal(path: path)
      try journal.append(scores, for: "a")
      #expect(throws: TaskError.journalInUse(path: path)) { try ScoreJournal(path: path) }
    }
    let whole = try String(contentsOfFile: path, encoding: .utf8)
    try (whole + whole.dropLast(4)).write(toFile: path, atomically: false, encoding: .utf8)
    do {
      let journal = try ScoreJournal(path: path)
      #expect(journal["a"] == scores && journal["b"] == nil && journal.count == 1)
      try journal.append(scores, for: "b")
    }
    do {
      let journal = try ScoreJournal(path: path)
      #expect(journal["a"] == scores && journal["b"] == scores)
    }
    for (text, line) in [(whole + "{}\n", 2), ("my novel", 1)] {
      try text.write(toFile: path, atomically: false, encoding: .utf8)
      #expect(throws: TaskError.damagedJournal(path: path, line: line)) {
        try ScoreJournal(path: path)
      }
      #expect(try String(contentsOfFile: path, encoding: .utf8) == text)
    }
  }

  @Test func `a checkout's commit is read from git's files`() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("dejavu-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let git = folder.appendingPathComponent("main/.git")
    let tree = git.appendingPathComponent("worktrees/side")
    let side = folder.appendingPathComponent("side")
    for each in [tree, side, git.appendingPathComponent("refs/heads")] {
      try FileManager.default.createDirectory(at: each, withIntermediateDirectories: true)
    }
    func write(_ text: String, _ file: URL) throws {
      try text.write(to: file, atomically: false, encoding: .utf8)
    }
    let (first, second) = (String(repeating: "a1", count: 20), String(repeating: "b2", count: 20))
    try write("ref: refs/heads/main\n", git.appendingPathComponent("HEAD"))
    try write(first + "\n", git.appendingPathComponent("refs/heads/main"))
    try write("# packed\n\(second) refs/heads/side\n", git.appendingPathComponent("packed-refs"))
    try write("gitdir: \(tree.path)\n", side.appendingPathComponent(".git"))
    try write("ref: refs/heads/side\n", tree.appendingPathComponent("HEAD"))
    try write("../..\n", tree.appendingPathComponent("commondir"))
    #expect(Checkout.commit(above: folder.path + "/main/.build/release/program") == first)
    #expect(Checkout.commit(above: side.path + "/program") == second)
    try write("ref: refs/heads/none\n", git.appendingPathComponent("HEAD"))
    #expect(Checkout.commit(above: folder.path + "/main/program") == nil)
  }
}
