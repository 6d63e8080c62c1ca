import CDejaVuCUDA
import DejaVuCore

/// What a card chooses tokens with, and where the host finds them.
///
/// Steps of even and of odd positions report to places of their own, so that the host reads one while the
/// next step runs.
final class DeviceSampler {
  /// Blocks that share the vocabulary.
  private static let blocks = 64
  private static let bins = 1024

  private let device: CUDADevice
  private let vocabulary: Int
  private let resultWords: Int
  private let rule: DeviceMemory
  private let hostRule: PinnedMemory
  /// The rule that the card has.
  private var known: TokenRule?
  private let likeliest: DeviceMemory
  private let counts: DeviceMemory
  private let weights: DeviceMemory
  private let binOfToken: DeviceMemory
  private let list: DeviceMemory
  /// int32 `[2][reportStride]`: a flag and counters, then the token.
  private let reports: PinnedMemory
  private let ends: [dejavu_handle?]

  /// - Parameters:
  ///   - device: the card.
  ///   - vocabulary: V.
  ///   - resultWords: int32s of a step's flag and counters.
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  init(_ device: CUDADevice, vocabulary: Int, resultWords: Int) throws(BackendError) {
    self.device = device
    self.vocabulary = vocabulary
    self.resultWords = resultWords
    let size = MemoryLayout<dv_token_rule>.size
    rule = try DeviceMemory(device, byteCount: size, what: "a rule for tokens")
    hostRule = try PinnedMemory(device, byteCount: size, what: "a rule for tokens")
    likeliest = try DeviceMemory(device, byteCount: 8 * Self.blocks, what: "likeliest tokens")
    counts = try DeviceMemory(device, byteCount: 4 * Self.bins, what: "tokens by weight")
    weights = try DeviceMemory(device, byteCount: 8 * Self.bins, what: "tokens by weight")
    binOfToken = try DeviceMemory(
      device, byteCount: 2 * (vocabulary + 7), what: "tokens by weight")
    list = try DeviceMemory(device, byteCount: 8 * vocabulary, what: "tokens of one weight")
    reports = try PinnedMemory(device, byteCount: 8 * (resultWords + 4), what: "tokens")
    ends = [device.makeEvent(), device.makeEvent()]
    counts.clear()
    weights.clear()
  }

  deinit { for case let event? in ends { _ = device.driver.release_event?(event) } }

  private var reportStride: Int { resultWords + 4 }

  /// Brings the rule to the card, if another is there.
  func follow(_ wanted: TokenRule) {
    guard wanted != known else { return }
    known = wanted
    var words = dv_token_rule()
    (words.temperature, words.span, words.share) = (wanted.temperature, wanted.span, wanted.share)
    (words.seed, words.keep) = (wanted.seed, Int32(clamping: wanted.keep))
    hostRule.base.storeBytes(of: words, as: dv_token_rule.self)
    device.copyLater(hostRule.base, to: rule.address, bytes: MemoryLayout<dv_token_rule>.size)
  }

  /// Blocks of the kernels that share the vocabulary.
  var grid: Grid { Grid(min(Self.blocks, (vocabulary + 255) / 256)) }

  func arguments(_ scratch: CUDAScratch, draws: Bool) -> dv_token_arguments {
    var job = dv_token_arguments()
    (job.logits, job.rule, job.likeliest) = (scratch.logits, rule.address, likeliest.address)
    (job.counts, job.weights) = (counts.address, weights.address)
    (job.bins, job.list) = (binOfToken.address, list.address)
    (job.token, job.position) = (scratch.tokenIds, scratch.positions(token: 0))
    (job.results, job.reports) = (scratch.results, reports.address)
    (job.vocabulary, job.blocks) = (Int32(vocabulary), Int32(grid.x))
    (job.result_words, job.report_stride) = (Int32(resultWords), Int32(reportStride))
    job.draws = draws ? 1 : 0
    return job
  }

  // Reports ---------------------------------------------------------------------------------------

  /// The flag and the counters of the step of one token at `position`.
  func report(of position: Int) -> UnsafeRawPointer {
    // The place is the chosen token's.
    UnsafeRawPointer(reports.base) + 4 * ((position + 1) % 2) * reportStride
  }

  /// The token that the step at `position` chose.
  func token(of position: Int) -> TokenID {
    report(of: position).load(fromByteOffset: 4 * resultWords, as: TokenID.self)
  }

  /// Notes that all of the step at `position` is in the stream.
  func end(_ position: Int) { device.record(ends[position % 2]) }

  /// Waits for that step, and for none behind it.
  func wait(for position: Int) { device.wait(for: ends[position % 2]) }
}
