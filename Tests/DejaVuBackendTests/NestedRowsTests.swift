import CDejaVuKernels
import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuReference
import DejaVuTestSupport
import Testing

/// Neurons whose rows lie in two halves, of which the chooser reads one.
struct NestedRowsTests {
  static let networks: [TinyModel] = [.opt, .optPostNorm, .llamaReLU, .neoX]
  static let formats: [(bits: Int, group: Int)] = [(4, 64), (4, 128), (8, 64), (8, 128)]

  private static func model(
    _ tiny: TinyModel, bits: Int = 4, group: Int = 64, zeros: Bool = false
  ) throws -> PackedModel {
    let format = try #require(GroupwiseFormat(bits: bits, group: group, hasZeros: zeros))
    return GroupwiseModel.pair(of: tiny.architecture, format: format).groupwise
  }

  private static func backend(
    _ model: PackedModel, _ instructionSet: InstructionSet = .best, threads: Int = 1
  ) throws -> CPUBackend {
    try CPUBackend(
      model: model,
      options: CPUOptions(
        threads: threads, instructionSet: instructionSet, multipliesPromptInBFloat16: false,
        batchCapacity: 32))
  }

  /// The low half of a neuron's first row, as a matrix of one row.
  private static func low(_ chooser: ChooserWeights, _ neuron: Int, _ bundle: NeuronBundle) throws
    -> GroupwiseMatrix
  {
    let rest = try #require(chooser.nested)
    let bytes = rest.lowBytes + (bundle.rowsPerNeuron - 1) * bundle.matrix.stride
    return GroupwiseMatrix(
      base: rest.base + neuron * bytes, bits: chooser.first.bits, rows: 1,
      columns: chooser.first.columns, owner: rest.owner)
  }

  @Test(arguments: InstructionSet.available, formats)
  func `both halves add up to the stored row, and the others are copied`(
    instructionSet: InstructionSet, format: (bits: Int, group: Int)
  ) throws {
    for tiny in [TinyModel.opt, .llamaReLU] {
      let model = try Self.model(tiny, bits: format.bits, group: format.group)
      let maker = ShadowMaker(backend: try Self.backend(model, instructionSet))
      let bundle = model.layers[1].bundle
      let chooser = try #require(maker.nested(layer: 1))
      let first = bundle.rows(0)
      for neuron in [0, 1, bundle.neurons / 2, bundle.neurons - 1] {
        let low = try Self.low(chooser, neuron, bundle)
        for column in 0..<first.columns {
          let sum = chooser.first.element(neuron, column) + low.element(0, column)
          let stored = first.element(neuron, column)
          // Halves are exact; their sum and the stored product are each rounded once.
          #expect(abs(sum - stored) <= 1e-6 * abs(stored), "neuron \(neuron), column \(column)")
        }
        let copied = UnsafeRawBufferPointer(
          start: low.base + low.rowBytes, count: (bundle.rowsPerNeuron - 1) * bundle.matrix.stride)
        let whole = UnsafeRawBufferPointer(
          start: bundle.rows(1).base + neuron * bundle.rows(1).stride, count: copied.count)
        #expect(copied.elementsEqual(whole))
      }
    }
  }

  @Test(arguments: networks, formats)
  func `a threshold below every score is the dense model`(
    tiny: TinyModel, format: (bits: Int, group: Int)
  ) throws {
    let story = PlanStory(model: try Self.model(tiny, bits: format.bits, group: format.group))
    let dense = try story.logits(.dense, nil)
    for instructionSet in InstructionSet.available {
      for rule in [ChoiceRule.threshold(-.infinity), .highest(story.model.architecture.neurons)] {
        let backend = try Self.backend(story.model, instructionSet)
        let found = try story.logits(.sparse, story.plan(neurons: .nested(rule)), on: backend)
        try expectClose(found, dense, within: .groupwiseLogits, "\(instructionSet), \(rule)")
      }
    }
  }

  @Test(arguments: networks)
  func `chosen neurons are computed as whole rows are, whoever chose them`(tiny: TinyModel) throws {
    let model = try Self.model(tiny)
    let backend = try Self.backend(model)
    let chooser = try #require(ShadowMaker(backend: backend).nested(layer: 0))
    let (neurons, hidden) = (model.architecture.neurons, model.architecture.hidden)
    let stream = backend.makeBuffer(width: hidden)
    let (nested, whole) = (backend.makeBuffer(width: hidden), backend.makeBuffer(width: hidden))
    var random = SeededRandom(seed: 5)
    for i in 0..<hidden { stream.base[i] = random.unit() }
    let batch = StepBatch<CPUCache>()
    batch.append([1], cache: try backend.makeCache(capacity: 4, window: 0), wanted: .none)
    backend.begin(batch)
    let normed = backend.makeBuffer(width: hidden)
    backend.normalize(stream, by: .mlp(0), into: normed)
    for count in [1, neurons / 3, neurons - 1] {
      let rows = backend.makeRows(universe: neurons, isPrecise: false)
      backend.choose(chooser, by: .highest(count), layer: 0, reading: stream, into: rows)
      backend.tally = Tally()
      backend.transform(layer: 0, neurons: .listed(rows), reading: normed, into: nested)
      let read = backend.tally
      let list = backend.list(of: 0, in: rows)
      let plain = backend.makeRows(universe: neurons, isPrecise: false)
      backend.assign(list, to: plain)
      backend.tally = Tally()
      backend.transform(layer: 0, neurons: .listed(plain), reading: normed, into: whole)
      for i in 0..<hidden {
        let bound = 2e-3 * (1 + abs(whole.base[i]))
        #expect(abs(nested.base[i] - whole.base[i]) <= bound, "\(count) neurons, lane \(i)")
      }
      // Half of each chosen first row was read by the chooser.
      let row = model.layers[0].bundle.matrix.rowBytes
      let half = try #require(chooser.nested).lowBytes
      #expect(backend.tally.mlpWeights - read.mlpWeights == list.count * (row - half))
    }
  }

  @Test(arguments: networks)
  func `threads do not change a bit`(tiny: TinyModel) throws {
    let story = PlanStory(model: try Self.model(tiny))
    let plan = story.plan(neurons: .nested(.threshold(0.02)))
    let alone = try story.logits(.sparse, plan, threads: 1)
    for threads in [2, 3] {
      try expectSameBits(
        try story.logits(.sparse, plan, threads: threads), alone, "\(threads) threads")
    }
    #expect(alone != (try story.logits(.dense, nil)), "the plan left nothing out")
  }

  @Test func `what has no halves is not parted`() throws {
    let cases = [
      try Self.model(.opt, bits: 4, zeros: true), try Self.model(.opt, group: 32),
      try Self.model(.opt, bits: 3), try Self.model(.opt, bits: 6), TinyModel.opt.model(),
    ]
    for model in cases {
      let maker = ShadowMaker(backend: try Self.backend(model))
      #expect(!ShadowMaker.canNest(model.format))
      #expect(maker.nested(layer: 0) == nil, "\(model.format.name)")
    }
  }

  @Test func `a scale that has no multiple in half precision is not parted`() throws {
    let model = try Self.model(.opt)
    let up = model.layers[0].bundle.up
    let format = try #require(up.format.groupwise)
    // The test owns the memory behind its model. 0x7800 is 32768, four times which is too much.
    let scales = UnsafeMutableRawPointer(mutating: up.base + format.codeBytes(up.columns))
    scales.storeBytes(of: 0x7800, as: UInt16.self)
    let maker = ShadowMaker(backend: try Self.backend(model))
    #expect(maker.nested(layer: 0) == nil)
    #expect(maker.nested(layer: 1) != nil)
  }

  @Test func `an infinite stream is found, not rounded away`() throws {
    let model = try Self.model(.opt)
    for instructionSet in InstructionSet.available {
      let backend = try Self.backend(model, instructionSet)
      let chooser = try #require(ShadowMaker(backend: backend).nested(layer: 0))
      let hidden = model.architecture.hidden
      let (x, out) = (backend.makeBuffer(width: hidden), backend.makeBuffer(width: hidden))
      for i in 0..<hidden { x.base[i] = i == 3 ? .infinity : 1 }
      let batch = StepBatch<CPUCache>()
      batch.append([1], cache: try backend.makeCache(capacity: 4, window: 0), wanted: .none)
      backend.begin(batch)
      let rows = backend.makeRows(universe: model.architecture.neurons, isPrecise: false)
      let finite = backend.makeBuffer(width: hidden)
      for i in 0..<hidden { finite.base[i] = 1 }
      backend.choose(
        chooser, by: .threshold(-.infinity), layer: 0, reading: finite, into: rows)
      backend.transform(layer: 0, neurons: .listed(rows), reading: x, into: out)
      let hides = (0..<hidden).allSatisfy { out.base[$0].isFinite }
      #expect(!hides, "\(instructionSet)")
    }
  }
}
