package import DejaVu
package import DejaVuCPU

/// What a result has to say about where it was made.
package struct Provenance: Codable, Hashable, Sendable {
  /// Of the checkout that the program lies in; nil for one that was installed elsewhere.
  package var commit: String?
  package var version: String
  package var machine: MachineUsed

  /// The machine, and how it was used.
  package struct MachineUsed: Codable, Hashable, Sendable {
    package var processor: String
    package var threads: Int
    package var instructionSet: String
    /// `cpu`, or the card's name.
    package var backend: String
    /// Type of cached keys and values.
    package var cacheType: String
    /// Bits that activations are rounded to where weights are groupwise; nil where none are.
    package var activationBits: Int?
  }

  /// Names the program's code: another one may compute otherwise.
  package var build: String { commit ?? version }

  package init(model: LanguageModel, cpu: CPUOptions, version: String) {
    commit = Checkout.commit
    self.version = version
    let own = model.loaded.model.format == .plain(.float32) ? "float32" : "float16"
    machine = MachineUsed(
      processor: Machine.processor, threads: cpu.threads,
      instructionSet: cpu.instructionSet.rawValue, backend: model.backendName,
      cacheType: cpu.cacheType?.rawValue ?? own,
      activationBits: model.roundsActivations ? cpu.activationBits.rawValue : nil)
  }
}
