import DejaVu
import DejaVuCPU
import DejaVuCUDA
import DejaVuCore
import DejaVuFormats
import Foundation

/// What this machine would run a model with.
struct MachineDescription {
  let instructionSets: [(set: InstructionSet, isAvailable: Bool)]
  let threads = LanguageModel.defaultThreads
  /// The system's word: always, madvise or never; nil where there is none.
  let hugePages: String?
  /// nil where the system does not say.
  let availableBytes: Int?
  let weightBytes: Int
  let cacheBytes: Int
  let cacheType: DType
  /// Whether this model's prompts are multiplied in bfloat16.
  let multipliesInBFloat16: Bool

  /// The card that `--backend cuda` would take, or why there is none.
  let card: String
  let hasCard: Bool

  init(for model: ModelDescription) {
    instructionSets = InstructionSet.allCases.map { ($0, $0.isAvailable) }
    (card, hasCard) = Self.findCard()
    hugePages = Self.readHugePages()
    availableBytes = AnonymousMemory.available == .max ? nil : AnonymousMemory.available
    let a = model.architecture
    cacheType = model.format == .plain(.float32) ? .float32 : .float16
    weightBytes = model.isPacked ? model.totalBytes : model.layoutBytes
    // A key and a value of every head, layer and position.
    cacheBytes =
      2 * a.layers * a.kvHeads * Padding.head(a.headWidth) * cacheType.size * a.context
    multipliesInBFloat16 =
      InstructionSet.best.multipliesBFloat16 && model.format == .plain(.bfloat16)
  }

  var best: InstructionSet { .best }
  var neededBytes: Int { weightBytes + cacheBytes }
  var fits: Bool? { availableBytes.map { neededBytes <= $0 } }

  private static func findCard() -> (description: String, isThere: Bool) {
    do {
      let device = try CUDADevice()
      let capability = "\(device.capability / 10).\(device.capability % 10)"
      return (
        "\(device.name), compute capability \(capability), "
          + "\(Quantity.bytes(device.freeBytes)) free; prompts and training are multiplied by "
          + ProductLibrary.describe(device.products), true
      )
    } catch BackendError.unavailable(_, let reason) {
      return ("none is used: \(reason)", false)
    } catch {
      return ("none is used: \(error)", false)
    }
  }

  private static func readHugePages() -> String? {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled"
    guard let text = try? String(contentsOfFile: path, encoding: .utf8),
      let start = text.firstIndex(of: "["), let end = text.firstIndex(of: "]"), start < end
    else { return nil }
    return String(text[text.index(after: start)..<end])
  }
}
