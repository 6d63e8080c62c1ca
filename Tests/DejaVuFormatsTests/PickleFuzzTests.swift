import DejaVuCore
import DejaVuFormats
import Foundation
import Testing

/// Seeded damage to a small valid checkpoint: whatever comes out is entries or a typed error.
@Suite struct PickleFuzzTests {
  /// SplitMix64: the same damage on every machine.
  struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
      return z ^ z >> 31
    }
  }

  /// Changes one to four places of `bytes`: a flipped bit, another byte, a hole or a repetition.
  private func damaged(_ bytes: [UInt8], by generator: inout SeededGenerator) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<Int.random(in: 1...4, using: &generator) {
      let place = Int.random(in: bytes.indices, using: &generator)
      switch Int.random(in: 0..<8, using: &generator) {
      case 0: bytes.remove(at: place)
      case 1: bytes.insert(contentsOf: bytes[place...].prefix(9), at: place)
      case 2, 3: bytes[place] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &generator) ?? 0
      case 4: bytes[place] = .random(in: 0...255, using: &generator)
      default: bytes[place] ^= UInt8(1) << UInt8.random(in: 0..<8, using: &generator)
      }
    }
    return bytes
  }

  /// Reads `bytes`; true if they loaded.
  ///
  /// Whatever loads must keep its promises.
  private func loads(_ bytes: [UInt8]) throws -> Bool {
    let file = try TemporaryFile(bytes)
    do throws(CheckpointError) {
      for entry in try PickleCheckpointFile.entries(path: file.path) {
        #expect(entry.range.lowerBound >= 0 && entry.range.upperBound <= bytes.count)
        let count = entry.shape.reduce(1, *)
        if let dtype = entry.dtype { #expect(entry.range.count == count * dtype.size) }
        #expect(entry.copiedBytes.count == entry.range.count)
      }
      return true
    } catch {
      #expect(!error.description.isEmpty)
      return false
    }
  }

  @Test(arguments: ["module.bin", "types.bin", "protocol4.bin"])
  func `a damaged archive loads or is refused`(name: String) throws {
    let original = try Data(contentsOf: URL(fileURLWithPath: PickleCheckpointTests.path(name)))
    var generator = SeededGenerator(state: 1)
    var loaded = 0
    for _ in 0..<3000 where try loads(damaged(Array(original), by: &generator)) { loaded += 1 }
    // Damage to weights and padding goes unnoticed, damage to structure does not.
    #expect((1..<2999).contains(loaded))
  }

  @Test func `a damaged pickle in a sound archive loads or is refused`() throws {
    let pickle = Pickle.file(
      Pickle.dict([
        ("first", Pickle.tensor()), ("second", Pickle.tensor(size: [2, 2], strides: [2, 1])),
        ("a number", Pickle.integer(7)),
      ]))
    #expect(try loads(Zip(pickle: pickle).bytes))
    var generator = SeededGenerator(state: 2)
    var loaded = 0
    for _ in 0..<5000 where try loads(Zip(pickle: damaged(pickle, by: &generator)).bytes) {
      loaded += 1
    }
    #expect((1..<4999).contains(loaded))
  }
}
