import Foundation

/// What a benchmark found, for programs (``json``) and for people (``text``).
///
/// Keys keep their meaning; a change that could break a reader raises the number at the end of
/// `schema`.
package struct SpeedReport: Codable, Hashable, Sendable {
  package static let schema = "dejavu/bench/1"

  package var schema = Self.schema
  package var model: Model
  package var machine: MachineRow
  package var method: Method
  package var bandwidth: [BandwidthRow] = []
  package var sgemm: [ProductRow] = []
  package var decode: [DecodeRow] = []
  package var prompt: [PromptRow] = []
  package var memory: MemoryRow
  /// Sentences about what limits the figures.
  package var notes: [String] = []

  package init(model: Model, machine: MachineRow, method: Method, memory: MemoryRow) {
    self.model = model
    self.machine = machine
    self.method = method
    self.memory = memory
  }

  /// Sets sparse rows against the dense row of as many threads at the same depth.
  package mutating func compareWithDense() {
    for index in decode.indices where decode[index].mode != "dense" {
      let row = decode[index]
      let dense = decode.first {
        $0.mode == "dense" && $0.threads == row.threads && $0.depth == row.depth
      }
      guard let dense, let before = dense.milliseconds.median.value,
        let after = row.milliseconds.median.value, after > 0,
        let bytes = row.bytesPerToken.value, let all = dense.bytesPerToken.value, all > 0
      else { continue }
      decode[index].speedupOverDense = Figure(before / after)
      decode[index].byteShare = Figure(bytes / all)
    }
  }

  /// Sets the packing rate against the rate of fresh memory with as many threads.
  package mutating func compareWithFreshMemory() {
    guard let packing = memory.packing, let rate = packing.rate.value,
      let row = memory.faultIn.first(where: { $0.threads == packing.threads }),
      let fresh = row.median.value, fresh > 0
    else { return }
    memory.packing?.faultInShare = Figure(rate / fresh)
  }

  /// The model that every row is about.
  package struct Model: Codable, Hashable, Sendable {
    /// A synthetic shape's name, or the model's folder.
    package let shape: String
    package let dtype: String
    package let synthetic: Bool
    /// How synthetic weights were made.
    package let recipe: String?
    package let weightBytes: Int

    package init(
      shape: String, dtype: String, synthetic: Bool, recipe: String?, weightBytes: Int
    ) {
      self.shape = shape
      self.dtype = dtype
      self.synthetic = synthetic
      self.recipe = recipe
      self.weightBytes = weightBytes
    }

    private enum CodingKeys: String, CodingKey {
      case shape, dtype, synthetic, recipe
      case weightBytes = "weight_bytes"
    }

    package func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(shape, forKey: .shape)
      try container.encode(dtype, forKey: .dtype)
      try container.encode(synthetic, forKey: .synthetic)
      // Null, not left out, where there is none: keys are always there.
      try container.encode(recipe, forKey: .recipe)
      try container.encode(weightBytes, forKey: .weightBytes)
    }

    /// What every row of a table says about its weights.
    var weights: String { synthetic ? "synthetic" : "real" }
  }

  package struct MachineRow: Codable, Hashable, Sendable {
    package let processor: String
    package let cores: Int
    package let instructionSet: String
    /// Bits that activations are rounded to where weights are groupwise; nil where none are.
    package let activationBits: Int?
    /// The BLAS' file, or nil with the reason in `blasMissing`.
    package let blas: String?
    package let blasMissing: String?

    package init(
      processor: String, cores: Int, instructionSet: String, activationBits: Int?, blas: String?,
      blasMissing: String?
    ) {
      self.processor = processor
      self.cores = cores
      self.instructionSet = instructionSet
      self.activationBits = activationBits
      self.blas = blas
      self.blasMissing = blasMissing
    }

    private enum CodingKeys: String, CodingKey {
      case processor, cores, blas
      case instructionSet = "instruction_set"
      case activationBits = "activation_bits"
      case blasMissing = "blas_missing"
    }

    package func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(processor, forKey: .processor)
      try container.encode(cores, forKey: .cores)
      try container.encode(instructionSet, forKey: .instructionSet)
      try container.encode(activationBits, forKey: .activationBits)
      try container.encode(blas, forKey: .blas)
      try container.encode(blasMissing, forKey: .blasMissing)
    }
  }

  package struct Method: Codable, Hashable, Sendable {
    package let rounds: Int
    package let tokensPerRun: Int
    package let seed: UInt64
    /// What sparse rows follow; nil where there are none.
    package let sparsity: SparsityRow?

    package init(
      rounds: Int, tokensPerRun: Int, seed: UInt64, sparsity: SparsityRow? = nil
    ) {
      self.rounds = rounds
      self.sparsity = sparsity
      self.tokensPerRun = tokensPerRun
      self.seed = seed
    }

    private enum CodingKeys: String, CodingKey {
      case rounds, seed, sparsity
      case tokensPerRun = "tokens_per_run"
    }

    package func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(rounds, forKey: .rounds)
      try container.encode(tokensPerRun, forKey: .tokensPerRun)
      try container.encode(seed, forKey: .seed)
      // Null, not left out, where there is none: keys are always there.
      try container.encode(sparsity, forKey: .sparsity)
    }
  }

  /// One line of JSON, keys in alphabetical order.
  package func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }
}
