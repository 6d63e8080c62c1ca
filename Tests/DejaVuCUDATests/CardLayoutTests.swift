import DejaVu
import DejaVuCPU
import DejaVuCUDA
import DejaVuCore
import DejaVuFormats
import Foundation
import Testing

/// Where weights lie on a card, by an emulated one, whose memory the host can read.
struct CardLayoutTests {
  private func made(_ format: String) throws -> SyntheticModel {
    var options = SyntheticModel.Options()
    let groupwise = try #require(GroupwiseFormat(name: format))
    options.groupwise = groupwise
    let shape = ModelShape(
      name: "wide", layers: 1, hidden: 2176, heads: 17, vocabulary: 64, context: 16)
    return try SyntheticModel(shape: shape, options: options, team: try ThreadTeam(threads: 1))
  }

  @Test(arguments: ["int4-g128", "int4-g64", "int8-g32"])
  func `rows of codes begin at lines of the cache and are the host's`(format: String) throws {
    let host = try made(format)
    let card = try DeviceModel(uploading: host.model, to: TestCard.emulated())
    let pairs = zip(host.model.layers, card.weights.layers).flatMap { host, card in
      [(host.output, card.output), (host.bundle.matrix, card.bundle.matrix)]
    }
    #expect(pairs.count == 2)
    for (host, card) in pairs {
      #expect(host.stride % 128 != 0, "the host's rows lie at lines by chance")
      #expect(card.stride % 128 == 0 && UInt(bitPattern: card.base) % 128 == 0)
      for row in [0, 1, host.rows - 1] {
        let (from, to) = (host.base + row * host.stride, card.base + row * card.stride)
        #expect(memcmp(from, to, host.rowBytes) == 0, "row \(row)")
      }
    }
  }

  @Test func `a model has the same places on a card whether it is on the host or not`() throws {
    let host = try made("int4-g128")
    let elsewhere = { (entry: PackedLayout.Entry) -> UnsafeRawPointer in
      UnsafeRawPointer(host.memory.base) + (1 << 40 + entry.offset)
    }
    let nobody = CardLayout(host.layout.model(owner: host.memory, locate: elsewhere))
    let card = CardLayout(host.model)
    #expect(nobody.byteCount == card.byteCount && card.byteCount > host.layout.byteCount)
    var places: Set<Int> = []
    for entry in host.layout.entries {
      let place = card.offset(of: UnsafeRawPointer(host.memory.base + entry.offset))
      #expect(nobody.offset(of: elsewhere(entry)) == place, "\(entry.name)")
      #expect(place % 256 == 0 && places.insert(place).inserted, "\(entry.name)")
    }
  }
}
