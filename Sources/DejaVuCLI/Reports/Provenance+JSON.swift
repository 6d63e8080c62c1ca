import DejaVuEvaluation

extension Provenance {
  /// `commit`, `version` and `machine`, as every result of `eval` has them.
  var members: [(key: String, value: JSONValue)] {
    [
      ("commit", commit.map { .text($0) } ?? .null), ("version", .text(version)),
      (
        "machine",
        [
          "processor": .text(machine.processor), "threads": .whole(machine.threads),
          "instruction_set": .text(machine.instructionSet), "backend": .text(machine.backend),
          "cache_type": .text(machine.cacheType),
          "activation_bits": machine.activationBits.map { .whole($0) } ?? .null,
        ]
      ),
    ]
  }
}
