import DejaVuEvaluation
import Testing

struct RowFiguresTests {
  private func figures(_ contributions: [Float], chosen: [Int32]?) -> RowFigures {
    var figures = RowFigures()
    contributions.withUnsafeBufferPointer { figures.add($0, chosen: chosen) }
    return figures
  }

  @Test func `a set is held against as many rows of the greatest contributions`() {
    // The oracle would take rows 1 and 3.
    let figures = figures([1, 4, 0, 3, 2], chosen: [0, 1])
    #expect(figures.recall == 0.5 && figures.precision == 0.5)
    #expect(figures.coveredMass == 0.5 && figures.density == 0.4)
    #expect(figures.active == 2)
  }

  @Test func `rows that contribute nothing are not the oracle's`() {
    let figures = figures([0, 4, 0, 0, 2], chosen: [0, 1, 2, 4])
    #expect(figures.recall == 1 && figures.precision == 0.5 && figures.coveredMass == 1)
    #expect(figures.best == 2 && figures.active == 2)
  }

  @Test func `no list means every row`() {
    let figures = figures([0, 4, 1], chosen: nil)
    #expect(figures.density == 1 && figures.recall == 1 && figures.coveredMass == 1)
    #expect(figures.chosen == 3 && figures.hits == 2)
  }

  @Test func `a block that contributes nothing loses nothing`() {
    #expect(figures([0, 0], chosen: [1]).coveredMass == 1)
    #expect(figures([0, 0], chosen: []).coveredMass == 1)
  }

  @Test func `tokens add up`() {
    var sum = figures([1, 3], chosen: [0])
    sum += figures([1, 3], chosen: [1])
    #expect(sum.tokens == 2 && sum.recall == 0.5 && sum.coveredMass == 0.5 && sum.density == 0.5)
  }
}
