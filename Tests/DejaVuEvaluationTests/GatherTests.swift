import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuFormats
import Foundation
import Testing

/// The ways of multiplying chosen rows that `bench --gather` compares.
struct GatherTests {
  private let team: ThreadTeam
  private static let (hidden, neurons) = (96, 416)

  init() throws { team = try ThreadTeam(threads: 2) }

  private func run(
    dtype: DType, _ set: InstructionSet,
    _ body: (GatherProducts) throws -> Void
  ) throws {
    let bytes = GatherProducts.byteCount(
      hidden: Self.hidden, neurons: Self.neurons, dtype: dtype, layers: 2)
    let memory = try AnonymousMemory(count: bytes, what: "a test")
    try body(
      GatherProducts(
        hidden: Self.hidden, neurons: Self.neurons, dtype: dtype, layers: 2, seed: 7,
        base: memory.base, team: team, instructionSet: set))
    withExtendedLifetime(memory) {}
  }

  private func result(
    _ products: GatherProducts, _ variant: GatherProducts.Variant, _ list: [Int32], layer: Int = 1
  ) -> [Float] {
    list.withUnsafeBufferPointer { Array(products.run(variant, layer: layer, list: $0)) }
  }

  @Test(arguments: DType.allCases, InstructionSet.available)
  func `every way gives the same sums`(dtype: DType, set: InstructionSet) throws {
    try run(dtype: dtype, set) { products in
      for density in [1.0 / 416, 0.05, 0.37, 1] {
        let list = GatherBench.set(density: density, of: Self.neurons, seed: 3)
        let first = result(products, .init(.rows, .fused), list)
        let largest = try #require(first.map(abs).max())
        #expect(largest > 0.1)
        for variant in GatherProducts.Variant.all where variant.method != .dense || density == 1 {
          let other = result(products, variant, list)
          #expect(other.count == Self.hidden)
          for (a, b) in zip(first, other) {
            #expect(abs(a - b) < 2e-5 * largest, "\(variant) at \(density)")
          }
        }
      }
    }
  }

  @Test func `layers and sets differ`() throws {
    try run(dtype: .float16, .best) { products in
      let list = GatherBench.set(density: 0.2, of: Self.neurons, seed: 3)
      let one = result(products, .init(.rows, .fused), list, layer: 0)
      #expect(one != result(products, .init(.rows, .fused), list, layer: 1))
      let other = GatherBench.set(density: 0.2, of: Self.neurons, seed: 4)
      #expect(one != result(products, .init(.rows, .fused), other, layer: 0))
    }
  }

  @Test func `sets are ascending, of the size asked for, and all rows take part`() {
    var seen: Set<Int32> = []
    for seed in 0..<64 {
      let list = GatherBench.set(density: 0.1, of: 200, seed: UInt64(seed))
      #expect(list.count == 20 && list == list.sorted() && Set(list).count == 20)
      #expect(list.allSatisfy { (0..<200).contains($0) })
      seen.formUnion(list)
    }
    #expect(seen.count > 190)
    #expect(GatherBench.set(density: 1, of: 5, seed: 1) == [0, 1, 2, 3, 4])
  }

  @Test func `bytes are those counted by hand`() throws {
    try run(dtype: .float16, .best) { products in
      // Rows are 192 bytes; columns 3 and 20 share a line of 32 halves, 64 begins another.
      let list: [Int32] = [3, 20, 64]
      let expected: [GatherProducts.Variant: (Int, Int)] = [
        .init(.rows, .dense): (2 * 416 * 192, 0),
        .init(.rows, .fused): (2 * 3 * 192, 0),
        .init(.rows, .copied): (4 * 3 * 192, 2 * 3 * 192),
        .init(.columns, .dense): (2 * 416 * 192, 0),
        .init(.columns, .fused): (3 * 192 + 2 * 64 * 96, 0),
        .init(.columns, .streamed): (3 * 192 + 416 * 192, 0),
        // The copy of three columns is padded to 32.
        .init(.columns, .copied): (2 * 3 * 192 + 2 * 64 * 96 + 96 * 64, 3 * 192 + 96 * 64),
      ]
      for variant in GatherProducts.Variant.all {
        let traffic = list.withUnsafeBufferPointer { products.traffic(variant, list: $0) }
        let (read, written) = try #require(expected[variant])
        #expect(traffic.read == read && traffic.written == written, "\(variant)")
      }
    }
  }

  private func report() throws -> GatherReport {
    var options = GatherBench.Options()
    (options.densities, options.rounds) = ([0.1, 0.5], 2)
    let shape = ModelShape(
      name: "small", layers: 1, hidden: 64, heads: 2, vocabulary: 96, context: 32)
    let bench = try GatherBench(shape: shape, options: options, leastBytes: 200_000)
    var steps = 0
    let report = try bench.run { steps += 1 }
    #expect(steps == bench.steps && steps == 4)
    return report
  }

  @Test func `every way is measured at every density and held against fused rows`() throws {
    let report = try report()
    #expect(report.layers == 4)
    #expect(report.gather.count == 2 * GatherProducts.Variant.all.count)
    for row in report.gather {
      #expect(row.synthetic && row.shape == "small" && row.threads == 1)
      #expect(row.neurons == (row.density.value == 0.1 ? 26 : 128))
      #expect(row.milliseconds.median.value ?? 0 > 0)
      #expect(row.timeOverFused.value != nil)
      if row.layout == "rows" && row.method == "copied" { #expect(row.bytesOverFused.value == 3) }
      if row.layout == "rows" && row.method == "fused" { #expect(row.timeOverFused.value == 1) }
    }
    for word in ["small, 64 × 256, float16, synthetic", "rows", "columns", "streamed", "copied"] {
      #expect(report.text.contains(word))
    }
  }

  @Test func `every key is documented`() throws {
    let text = try String(
      contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Documentation/JSON.md"), encoding: .utf8)
    let section = try #require(
      text.components(separatedBy: "\n## ").first { $0.hasPrefix("`dejavu bench --gather`") })
    let json = try report().json()
    #expect(!json.contains("\n"))
    func check(_ value: Any) {
      if let list = value as? [Any] { list.forEach(check) }
      guard let object = value as? [String: Any] else { return }
      for (key, value) in object {
        #expect(section.contains("`\(key)`"), "\(key) is not in Documentation/JSON.md")
        check(value)
      }
    }
    check(try JSONSerialization.jsonObject(with: Data(json.utf8)))
  }
}
