import Foundation

/// What the measuring machine is, as far as the system says.
package enum Machine {
  /// The processor's name.
  package static var processor: String {
    #if canImport(Darwin)
      var size = 0
      sysctlbyname("machdep.cpu.brand_string", nil, &size, nil, 0)
      var name = [CChar](repeating: 0, count: max(size, 1))
      sysctlbyname("machdep.cpu.brand_string", &name, &size, nil, 0)
      let text = String(
        decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      return text.isEmpty ? "unknown" : text
    #else
      // arm64 kernels name the implementer only by number.
      return field("model name", in: "/proc/cpuinfo") ?? field("Hardware", in: "/proc/cpuinfo")
        ?? "unknown"
    #endif
  }

  /// The greatest number of bytes that this process has had in memory at once.
  package static var peakResidentBytes: Int? {
    #if os(Linux)
      guard let text = field("VmHWM", in: "/proc/self/status") else { return nil }
      return Int(text.prefix { $0.isNumber }).map { $0 * 1024 }
    #else
      var usage = rusage()
      guard getrusage(RUSAGE_SELF, &usage) == 0 else { return nil }
      return Int(usage.ru_maxrss)
    #endif
  }

  /// The value behind `name` and a colon, first of its kind.
  private static func field(_ name: String, in path: String) -> String? {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
    for line in text.split(separator: "\n") where line.hasPrefix(name) {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
      if !value.isEmpty { return String(value) }
    }
    return nil
  }
}
