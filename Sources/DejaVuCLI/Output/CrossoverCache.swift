import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuCUDA
import DejaVuEvaluation
import DejaVuFormats
import DejaVuJSON
import DejaVuModels
import Foundation

/// Keeps what `--sparsity auto` measured, so that it is measured once per machine, model and plan.
///
/// One small JSON file, `dejavu/crossovers.json` under `XDG_CACHE_HOME` (`~/.cache` without it). A
/// file that cannot be read or written, or makes no sense, is as good as none: the crossover is
/// measured again.
struct CrossoverCache {
  private static let most = 64
  private static let version = 1

  private let path: String?

  init(environment: [String: String] = ProcessInfo.processInfo.environment) {
    let base =
      environment["XDG_CACHE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
      ?? environment["HOME"].flatMap { $0.isEmpty ? nil : $0 + "/.cache" }
    path = base.map { $0 + "/dejavu/crossovers.json" }
  }

  /// The choice of `--sparsity auto`, from a crossover that was kept or measured just now.
  static func auto(
    _ model: LanguageModel, folder: String, cpu: CPUOptions
  ) throws -> SparsityChoice {
    let cache = CrossoverCache()
    let kept = cache.entries()
    let key = { plan in Self.key(model, plan, cpu) }
    let found = try SparsityChoice.auto(model: model, folder: folder) { plan in
      kept.first { $0.key == key(plan) && (plan == nil || $0.crossover.sparse != nil) }?.crossover
    }
    let entry = Entry(key: key(found.plan), crossover: found.crossover)
    if !kept.contains(entry) { cache.store([entry] + kept.filter { $0.key != entry.key }) }
    return found.choice
  }

  /// Whatever decides the speed of a step: machine, model, how it runs, and the plan in full.
  private static func key(
    _ model: LanguageModel, _ plan: SparsityPlan?, _ cpu: CPUOptions
  ) -> String {
    var digest = SHA256()
    digest.update((plan.map { PlanText.text([$0]) } ?? "").utf8)
    return [
      model.loaded.fingerprint, model.loaded.model.format.name, Machine.processor,
      "\(ProcessInfo.processInfo.activeProcessorCount) cores", cpu.instructionSet.rawValue,
      "\(cpu.threads) threads", "\(cpu.activationBits.rawValue)-bit activations",
      cpu.cacheType?.rawValue ?? "own cache type",
      model.engine.cuda.map { "on \($0.device.name)" } ?? "no card",
      plan == nil ? "no plan" : digest.hexDigest(), DejaVuCommand.configuration.version,
    ].joined(separator: ", ")
  }

  /// A crossover and what it was measured of.
  private struct Entry: Hashable {
    let key: String
    let crossover: Crossover
  }

  private func entries() -> [Entry] {
    guard let path, let data = FileManager.default.contents(atPath: path), data.count < 1 << 20,
      let json = try? JSON.parse(data, limits: JSONLimits(depth: 6, values: 1 << 12)),
      json["version"]?.integer == Self.version
    else { return [] }
    return (json["crossovers"]?.elements ?? []).compactMap { value in
      guard let key = value["key"]?.text, let dense = value["dense"]?.double,
        let exact = value["exact"]?.double, dense > 0, exact > 0
      else { return nil }
      let sparse = value["sparse"]?.double
      guard sparse.map({ $0 > 0 }) ?? true else { return nil }
      return Entry(key: key, crossover: Crossover(dense: dense, exact: exact, sparse: sparse))
    }
  }

  /// Newest first; a cache that cannot be written costs a second next time and nothing else.
  private func store(_ entries: [Entry]) {
    guard let path else { return }
    let values = entries.prefix(Self.most).map { entry -> JSONValue in
      .object([
        ("key", .text(entry.key)), ("dense", .precise(entry.crossover.dense)),
        ("exact", .precise(entry.crossover.exact)),
        ("sparse", entry.crossover.sparse.map { .precise($0) } ?? .null),
      ])
    }
    let text: JSONValue = [
      "version": .whole(Self.version), "crossovers": .array(Array(values)),
    ]
    try? FileManager.default.createDirectory(
      atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    guard let file = try? AtomicFile(path: path) else { return }
    let bytes = Array((text.description + "\n").utf8)
    try? bytes.withUnsafeBytes { try file.append($0) }
    try? file.commit()
  }
}
