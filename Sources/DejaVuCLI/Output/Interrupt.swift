import Foundation
import Synchronization

/// Ctrl-C and requests to end: the first is noted and work ends cleanly, the second kills.
enum Interrupt {
  private static let raised = Atomic<Int32>(0)
  private static let endsAtOnce = Atomic<Bool>(false)
  /// Whether a half-drawn line on standard error has to be wiped.
  static let lineIsDrawn = Atomic<Bool>(false)

  /// Starts to listen; a signal that the parent process ignores stays ignored.
  static func install() {
    _ = (raised.load(ordering: .relaxed), lineIsDrawn.load(ordering: .relaxed))
    for number in [SIGINT, SIGTERM] {
      var current = sigaction()
      sigaction(number, nil, &current)
      if isIgnored(current) { continue }
      signal(number, handle)
    }
  }

  /// Lets the signals through that a parent process may have blocked: a thread of another Swift
  /// program blocks nearly all of them, and its children inherit that.
  static func unblock() {
    var signals = sigset_t()
    sigemptyset(&signals)
    for number in [SIGINT, SIGTERM, SIGPIPE] { sigaddset(&signals, number) }
    sigprocmask(SIG_UNBLOCK, &signals, nil)
  }

  /// The signal that came, or nil.
  static var signalNumber: Int32? {
    let number = raised.load(ordering: .relaxed)
    return number == 0 ? nil : number
  }

  /// - Throws: ``CommandError/interrupted(signal:)`` after a signal.
  static func check() throws(CommandError) {
    if let number = signalNumber { throw .interrupted(signal: number) }
  }

  /// Runs `body`, which cannot stop half-way and leaves nothing behind: a signal ends the program
  /// there and then, with the same exit code.
  static func endingAtOnce<Result>(_ body: () throws -> Result) throws -> Result {
    try check()
    endsAtOnce.store(true, ordering: .relaxed)
    defer { endsAtOnce.store(false, ordering: .relaxed) }
    return try body()
  }

  /// For work whose first part cannot be stopped: the rest of the program ends cleanly again.
  static func endCleanly() { endsAtOnce.store(false, ordering: .relaxed) }

  // Only what a signal handler may call: atomics, signal, write, _exit.
  private static let handle: @convention(c) (Int32) -> Void = { number in
    signal(number, SIG_DFL)
    if endsAtOnce.load(ordering: .relaxed) {
      if lineIsDrawn.load(ordering: .relaxed) { eraseLine() }
      _exit(128 + number)
    }
    raised.store(number, ordering: .relaxed)
  }

  private static func eraseLine() {
    var bytes: (UInt8, UInt8, UInt8, UInt8) = (0x0D, 0x1B, 0x5B, 0x4B)  // \r ESC [ K
    _ = write(STDERR_FILENO, &bytes, 4)
  }

  private static func isIgnored(_ action: sigaction) -> Bool {
    #if os(Linux)
      let handler = action.__sigaction_handler.sa_handler
    #else
      let handler = action.__sigaction_u.__sa_handler
    #endif
    return unsafeBitCast(handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
  }
}
