import DejaVu
import Synchronization

/// How far a long operation has come, on standard error: amount, rate and remaining time.
///
/// On a terminal a bar is drawn over itself and wiped at the end. Elsewhere plain lines come every
/// five seconds, the first after two; work that is shorter says nothing.
final class ProgressBar {
  /// What is counted.
  enum Unit { case bytes, steps }

  private let label: String
  private let unit: Unit
  private let terminal: Terminal
  private let isShown: Bool
  private let start = ContinuousClock.now
  private var last: ContinuousClock.Instant?
  /// What was done when the steps' pace was first known: what comes before, caches that are allocated
  /// and weights that are read for the first time, says nothing about the rest.
  private var base: (time: ContinuousClock.Instant, done: Int)?
  private var lastDone = 0

  /// Starts the clock; nothing is drawn yet.
  ///
  /// - Parameters:
  ///   - label: what is being done, in one word.
  ///   - isShown: false with `--quiet`.
  ///   - unit: what is counted.
  ///   - terminal: what the bar is drawn on.
  init(_ label: String, isShown: Bool, unit: Unit = .bytes, terminal: Terminal = .error) {
    self.label = label
    self.unit = unit
    self.isShown = isShown
    self.terminal = terminal
  }

  deinit { finish() }

  func update(_ progress: LoadingProgress) {
    update(done: progress.bytesDone, of: progress.bytesTotal)
  }

  /// Shows that `done` of `total` bytes or steps are through; draws only when it is time to.
  func update(done: Int, of total: Int) {
    guard isShown else { return }
    let now = ContinuousClock.now
    // Less than before is another piece of work under the same name.
    if unit == .steps, base == nil || done < lastDone { base = (now, done) }
    lastDone = done
    let pause: Duration = terminal.isInteractive ? .milliseconds(100) : .seconds(5)
    let first: Duration = terminal.isInteractive ? .milliseconds(500) : .seconds(2)
    guard last.map({ now - $0 >= pause }) ?? (now - start >= first), done < total else { return }
    last = now
    let from = base ?? (start, 0)
    let figures = Self.figures(
      unit, done: done, total: total, before: from.done,
      elapsed: (now - from.time) / .seconds(1))
    if terminal.isInteractive {
      Interrupt.lineIsDrawn.store(true, ordering: .relaxed)
      terminal.write("\r\u{1B}[K" + line(figures, share: Double(done) / Double(max(total, 1))))
    } else {
      terminal.writeLine("\(label): \(figures)")
    }
  }

  /// Wipes the bar.
  func finish() {
    guard terminal.isInteractive, last != nil else { return }
    terminal.write("\r\u{1B}[K")
    Interrupt.lineIsDrawn.store(false, ordering: .relaxed)
    last = nil
  }

  /// Amount, rate and remaining time in words; `before` was done when the clock of `elapsed` started.
  static func figures(
    _ unit: Unit, done: Int, total: Int, before: Int = 0, elapsed: Double
  ) -> String {
    let rate = Double(done - before) / max(elapsed, 1e-9)
    let rest = rate > 0 ? Quantity.time(Double(total - done) / rate) : "unknown time"
    if unit == .steps { return "\(done) of \(total)" + (done > before ? ", \(rest) left" : "") }
    return "\(Quantity.bytes(done)) of \(Quantity.bytes(total)), \(Quantity.bytes(rate))/s, "
      + "\(rest) left"
  }

  private func line(_ figures: String, share: Double) -> String {
    let width = min(terminal.columns - label.count - figures.count - 6, 30)
    guard width >= 5 else { return String("\(label) \(figures)".prefix(terminal.columns - 1)) }
    let filled = Int(share * Double(width))
    let bar = terminal.styled(String(repeating: "#", count: filled), .bar)
    return "\(label) [\(bar)\(String(repeating: ".", count: width - filled))] \(figures)"
  }
}
