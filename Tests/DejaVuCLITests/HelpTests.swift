import Foundation
import Testing

struct HelpTests {
  @Test(arguments: [
    "generate", "inspect", "convert", "pack", "train", "calibrate", "bench", "synthesize", "eval",
    "report", "quantize",
  ])
  func `a command's help is the one agreed upon`(command: String) throws {
    let result = try Program.run(command, "--help")
    #expect(result.status == 0)
    #expect(result.errors == "")
    try Snapshot.check(result.output, "help-\(command)")
  }

  @Test func `dejavu alone prints its help`() throws {
    let bare = try Program.run()
    #expect(bare.status == 0)
    #expect(try Program.run("--help").output == bare.output)
    try Snapshot.check(bare.output, "help")
  }

  @Test func `the version is a number`() throws {
    #expect(try Program.run("--version").output == "0.1.0\n")
  }

  @Test(arguments: ["bash", "zsh", "fish"])
  func `completions are generated`(shell: String) throws {
    let result = try Program.run("--generate-completion-script", shell)
    #expect(result.status == 0)
    #expect(result.output.contains("repetition-penalty"))
  }
}
