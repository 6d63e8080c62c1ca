package import DejaVu
package import DejaVuCPU
package import DejaVuCore
import DejaVuFormats
import DejaVuModels

/// Measures one layer's MLP over chosen neurons, fused and by way of a copy, in two layouts.
package struct GatherBench {
  /// What is compared, and how often.
  package struct Options: Sendable {
    package var dtype = DType.float16
    package var densities = [0.05, 0.1, 0.2, 0.3, 0.5]
    package var threads = [1]
    package var rounds = 5
    package var seed: UInt64 = 1
    package var instructionSet = InstructionSet.best

    package init() {}
  }

  /// Weights of one layout that are gone through before any is read again, so that none waits in a
  /// cache.
  private static let leastBytes = 1 << 29

  private let shape: ModelShape
  private let options: Options
  private let layers: Int
  private let memory: AnonymousMemory

  /// Takes memory; nothing is made or measured yet.
  ///
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  package init(
    shape: ModelShape, options: Options, leastBytes: Int? = nil
  ) throws(BackendError) {
    let a = shape.architecture
    let layer = 2 * a.hidden * a.neurons * options.dtype.size
    layers = ((leastBytes ?? Self.leastBytes) + layer - 1) / layer
    memory = try AnonymousMemory(
      count: GatherProducts.byteCount(
        hidden: a.hidden, neurons: a.neurons, dtype: options.dtype, layers: layers),
      what: "rows of \(shape.name) in two layouts")
    self.shape = shape
    self.options = options
  }

  /// Calls of `run`'s step.
  package var steps: Int { options.threads.count * options.rounds * options.densities.count }

  /// Measures everything; `step` is called before each round of each density and may throw to give
  /// up.
  package func run(step: () throws -> Void) throws -> GatherReport {
    var report = GatherReport(
      shape: shape.name, options: options, hidden: shape.hidden,
      neurons: shape.architecture.neurons, layers: layers)
    for threads in options.threads {
      let team = try ThreadTeam(threads: threads)
      let products = try GatherProducts(
        hidden: shape.hidden, neurons: shape.architecture.neurons, dtype: options.dtype,
        layers: layers, seed: options.seed, base: memory.base, team: team,
        instructionSet: options.instructionSet)
      let bandwidth = try MemoryBandwidth(
        team: team, weights: UnsafeRawBufferPointer(start: memory.base, count: memory.count))
      var figures: [Place: Measured] = [:]
      for round in 0..<options.rounds {
        bandwidth.sample()
        for density in options.densities {
          try step()
          measure(products, density: density, round: round, into: &figures)
        }
      }
      while bandwidth.gigabytesPerSecond.count < Workload.leastProbes { bandwidth.sample() }
      report.bandwidth.append(
        .init(threads: threads, gigabytesPerSecond: bandwidth.gigabytesPerSecond))
      report.gather += rows(figures, threads: threads)
    }
    report.compareWithFused()
    return report
  }

  private struct Place: Hashable {
    let density: Double
    let variant: GatherProducts.Variant
  }

  private struct Measured {
    var milliseconds: [Double] = []
    var neurons = 0
    var read = 0.0
    var written = 0.0
  }

  /// One round of every way at one density: every layer once, each with a set of its own.
  private func measure(
    _ products: GatherProducts, density: Double, round: Int, into figures: inout [Place: Measured]
  ) {
    let clock = ContinuousClock()
    for (index, variant) in GatherProducts.Variant.all.enumerated() {
      var measured = figures[Place(density: density, variant: variant)] ?? Measured()
      for layer in 0..<layers {
        // Another way has another set, so that no row waits in a cache because of the last one.
        let stream = UInt64((round * 16 + index) * layers + layer)
        let list = Self.set(
          density: density, of: products.neurons, seed: options.seed &+ stream &* 104_729)
        list.withUnsafeBufferPointer { list in
          let time = clock.measure { _ = products.run(variant, layer: layer, list: list) }
          let traffic = products.traffic(variant, list: list)
          measured.milliseconds.append(time.milliseconds)
          measured.neurons = list.count
          measured.read += Double(traffic.read)
          measured.written += Double(traffic.written)
        }
      }
      figures[Place(density: density, variant: variant)] = measured
    }
  }

  private func rows(
    _ figures: [Place: Measured], threads: Int
  ) -> [GatherReport.Row] {
    options.densities.flatMap { density in
      GatherProducts.Variant.all.compactMap { variant in
        figures[Place(density: density, variant: variant)].map { measured in
          let calls = Double(max(measured.milliseconds.count, 1))
          return GatherReport.Row(
            shape: shape.name, dtype: options.dtype, threads: threads, density: density,
            neurons: measured.neurons, variant: variant, milliseconds: measured.milliseconds,
            read: measured.read / calls, written: measured.written / calls)
        }
      }
    }
  }

  /// Random rows, ascending: exactly the share that was asked for, to the nearest row.
  package static func set(density: Double, of rows: Int, seed: UInt64) -> [Int32] {
    var wanted = SyntheticSparsity.count(density: density, of: rows)
    var list: [Int32] = []
    list.reserveCapacity(wanted)
    for row in 0..<rows where wanted > 0 {
      let draw = Sampler.uniform(seed: seed, counter: UInt64(row))
      if draw * Double(rows - row) < Double(wanted) {
        list.append(Int32(row))
        wanted -= 1
      }
    }
    return list
  }
}
