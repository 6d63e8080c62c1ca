/// What the compiler says that a kernel takes.
package struct KernelReport: Hashable, Sendable {
  package let name: String
  /// Per thread.
  package private(set) var registers = 0
  /// Bytes of a thread's own memory: arrays that are in no register.
  package private(set) var stackBytes = 0
  /// Bytes that were stored for want of registers.
  package private(set) var spilledBytes = 0

  /// Reads the assembler's report: a line with the kernel's name, one with its memory, one with its
  /// registers.
  package static func read(_ log: String) -> [KernelReport] {
    var reports: [KernelReport] = []
    for line in log.split(separator: "\n") {
      let words = line.split(whereSeparator: { " ,".contains($0) })
      if line.contains("Compiling entry function"),
        let name = line.split(separator: "'").dropFirst().first
      {
        reports.append(KernelReport(name: String(name)))
      } else if let last = reports.indices.last {
        if line.contains("bytes stack frame") {
          reports[last].stackBytes = number(before: "stack", in: words, skipping: 1)
          reports[last].spilledBytes = number(before: "stores", in: words, skipping: 2)
        } else if line.contains("registers") {
          reports[last].registers = number(before: "registers", in: words, skipping: 0)
        }
      }
    }
    return reports
  }

  /// The number that stands `skipping` words before the one named.
  private static func number(before word: String, in words: [Substring], skipping: Int) -> Int {
    guard let at = words.firstIndex(of: Substring(word)), at > skipping else { return 0 }
    return Int(words[at - skipping - 1]) ?? 0
  }
}
