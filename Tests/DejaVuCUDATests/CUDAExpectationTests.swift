import DejaVuCUDA
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Testing

/// Steps that come again run before the host has found out what they are, and nothing may show it.
struct CUDAExpectationTests {
  @Test(arguments: [0, 3])
  func `a step that was expected leaves the bits of one that was waited for`(window: Int) throws {
    let (waiting, _) = try tell(window: window, expects: false)
    let (expecting, guesses) = try tell(window: window, expects: true)
    try expectSameBits(expecting, waiting, "window \(window)")
    #expect(guesses.right > 30, "most steps are expected")
    #expect(guesses.wrong > 3, "and some should not have run")
  }

  /// Sixty tokens, most of them under one choice of heads whose lists change, others dense or under
  /// another choice; now and then the cache is cut back.
  private func tell(
    window: Int, expects: Bool
  ) throws -> (logits: [[Float]], guesses: (right: Int, wrong: Int)) {
    let model = TinyModel.opt.model(dtype: .float16)
    let backend = try TestCard.backend(model)
    backend.expectsSteps = expects
    let decoder = Decoder(backend: backend)
    let cache = try backend.makeCache(capacity: 96, window: window)
    let (layers, groups) = (model.architecture.layers, model.architecture.kvHeads)
    let choices = (0..<2).map { _ in (0..<layers).map { _ in backend.makeRows(universe: groups) } }
    var random = SeededRandom(seed: 5)
    let batch = StepBatch<CUDACache>()
    var logits: [[Float]] = []
    for index in 0..<60 {
      for rows in choices.joined() {
        try rows.assign(lists: [(0..<Int32(groups)).filter { _ in random.next() % 2 == 0 }])
      }
      if index % 17 == 16 { cache.truncate(to: cache.count - 3) }
      batch.removeAll()
      batch.append(
        CollectionOfOne(TokenID(random.next() % 319)), cache: cache, wanted: .last)
      switch index % 14 {
      case 11: try decoder.step(batch, selector: EveryRow<CUDABackend>())
      case 13: try decoder.step(batch, selector: ListedHeads(rows: choices[1]))
      default: try decoder.step(batch, selector: ListedHeads(rows: choices[0]))
      }
      logits.append(Array(backend.logits(0)))
    }
    return (logits, backend.guesses)
  }
}

/// The heads of one list for each layer, and every neuron.
private struct ListedHeads: Selector {
  typealias B = CUDABackend
  let rows: [CUDARows]
  func heads(for layer: Int, seeing x: CUDABuffer) -> RowChoice<CUDARows> { .listed(rows[layer]) }
  func neurons(for layer: Int, seeing x: CUDABuffer) -> RowChoice<CUDARows> { .all }
}
