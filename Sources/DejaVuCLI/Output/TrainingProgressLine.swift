import DejaVuModels
import DejaVuTraining
import Synchronization

/// How far training has come, on standard error.
///
/// On a terminal one line is drawn over itself; elsewhere a line comes every 30 seconds.
final class TrainingProgressLine {
  private let isShown: Bool
  private let terminal = Terminal.error
  private var last = ContinuousClock.now

  init(isShown: Bool) { self.isShown = isShown }

  func show(_ progress: TrainingProgress) {
    let pause: Duration = terminal.isInteractive ? .milliseconds(200) : .seconds(30)
    guard isShown, ContinuousClock.now - last >= pause else { return }
    last = .now
    let text = Self.text(progress)
    if terminal.isInteractive {
      Interrupt.lineIsDrawn.store(true, ordering: .relaxed)
      terminal.write("\r\u{1B}[K" + String(text.prefix(terminal.columns - 1)))
    } else {
      terminal.writeLine("train: " + text)
    }
  }

  func clear() {
    guard terminal.isInteractive else { return }
    terminal.write("\r\u{1B}[K")
    Interrupt.lineIsDrawn.store(false, ordering: .relaxed)
  }

  static func text(_ progress: TrainingProgress) -> String {
    var parts = [progress.phase]
    let planned =
      progress.plannedTokens > 0 ? " of " + Quantity.grouped(progress.plannedTokens) : ""
    parts.append("\(Quantity.grouped(progress.tokens))\(planned) tokens")
    if let speed = progress.tokensPerSecond {
      parts.append("\(Quantity.grouped(Int(speed.rounded()))) tokens/s")
    }
    if let seconds = progress.remainingSeconds { parts.append("\(Quantity.time(seconds)) left") }
    if progress.loss > 0 { parts.append("loss \(Quantity.decimals(progress.loss, 4))") }
    if let axis = progress.axis, !progress.coveredMass.isEmpty {
      let masses = progress.coveredMass.map { Quantity.decimals($0, 3).dropFirst($0 < 1 ? 1 : 0) }
      parts.append("covered mass of \(axis.rawValue) " + masses.joined(separator: " "))
    }
    return parts.joined(separator: ", ")
  }
}
