import ArgumentParser
import Foundation

/// The door: parses, runs, and turns whatever was thrown into one line and an exit code.
@main
enum Main {
  static func main() {
    // A reader that goes away ends the program quietly, whatever the parent process chose.
    signal(SIGPIPE, SIG_DFL)
    Interrupt.unblock()
    do {
      var command = try DejaVuCommand.parseAsRoot()
      try command.run()
    } catch {
      exit(Ending.report(error).rawValue)
    }
  }
}
