import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Testing

/// Three quarters of the heads in every layer: keys and values of the others wait, and nothing shows
/// it.
struct HeadDensityTests {
  static let models: [Golden] = [Golden.defaultModel] + (Golden.larger.map { [$0] } ?? [])

  @Test(arguments: models)
  func `at head density 0.75 deferred and eager keys give the same perplexity`(
    golden: Golden
  ) throws {
    let model = try LanguageModel(
      path: golden.modelFolder, backend: .cpu(CPUOptions(threads: 2)))
    var options = SelectorFactory.Options()
    options.headDensity = 0.75
    let factory = try #require(
      SelectorFactory(model: model, folder: golden.modelFolder, options: options))
    let deferred = try factory.subject(.random)
    let eager = try #require(deferred.withEagerKeys)
    let ids = try Golden.defaultModel.cases().map(\.ids).max { $0.count < $1.count } ?? []
    let window = ids.filter { Int($0) < model.architecture.vocabulary }
    #expect(window.count > 60)
    let runs = try PlanEvaluation(engine: model.engine, subjects: [deferred, eager]).run(
      windows: [window]
    ) { _, _ in }
    #expect(abs(runs[1].tally.headDensity - 0.75) < 0.02)
    #expect(runs[1].tally.keptInputs > 0, "no key was ever late")
    #expect(runs[2].tally.keptInputs == 0)
    #expect(runs[1].losses == runs[2].losses)
    #expect(runs[1].greatestDifference(to: runs[0]) > 0.01, "no head was left out")
  }
}
