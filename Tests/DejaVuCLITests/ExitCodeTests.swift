import Foundation
import Testing

struct ExitCodeTests {
  @Test(arguments: [
    ("--temperature", ["nan", "inf", "-inf", "-1", "1e400", "100.5", "x", ""]),
    ("--top-p", ["nan", "-0.1", "1.1", "1e400"]),
    ("--min-p", ["nan", "-0.1", "1.1"]),
    ("--repetition-penalty", ["0", "-1", "nan", "1e400"]),
    ("--max-tokens", ["0", "-1", "9223372036854775808", "1.5", "1e3"]),
    ("--top-k", ["-1", "9223372036854775808"]),
    ("--seed", ["-1", "9223372036854775808", "0x7"]),
    ("--threads", ["0", "-1", "1025", "9223372036854775808"]),
  ])
  func `a number outside its range names the range`(option: String, values: [String]) throws {
    for value in values {
      let result = try Program.run("generate", "x", option, value)
      #expect(result.status == 64, "\(option) \(value)")
      #expect(result.output == "")
      #expect(result.errors.contains("number from"), "\(option) \(value): \(result.errors)")
      #expect(result.errors.contains(option) && isOneLine(result.errors))
    }
  }

  @Test(arguments: [
    ["generate", "x", "--bogus"], ["generate", "x", "--seed"], ["nonsense"],
    ["generate", "x", "y"], ["generate", "x", "--isa", "mmx"], ["generate", "x", "--stop", ""],
    ["generate", "x", "--cache-type", "int4"], ["convert"],
    ["convert", "a", "b", "--shard-size", "0"], ["convert", "a", "b", "--shard-size", "1e400GB"],
    ["convert", "a", "b", "--shard-size", "nan"], ["pack", "a"],
    ["bench", "--gather"], ["bench", "--shape", "opt-125m", "--gather", "--sweep"],
    ["bench", "--shape", "opt-125m", "--gather", "--mlp-density", "0"],
    ["bench", "--shape", "opt-125m", "--packed", "a"], ["bench", "--sweep"],
    ["bench", "--shape", "opt-125m", "--mlp-density", "-0.1"],
    ["bench", "--shape", "opt-125m", "--head-density", "0"],
    ["bench", "--shape", "opt-125m", "--mlp-density", "0.0001"],
  ])
  func `wrong usage is 64 and one line`(arguments: [String]) throws {
    let result = try Program.run(arguments)
    #expect(result.status == 64)
    #expect(result.output == "")
    #expect(isOneLine(result.errors), "\(result.errors)")
  }

  @Test(arguments: [
    ["--selectors", "oracle,psychic"], ["--selectors", "oracle"], ["--selectors", ""],
    ["--selectors", "nearest", "--head-density", "0.5"],
    ["--selectors", "static", "--mlp-density", "0.5"],
    ["--selectors", "oracle", "--mlp-density", "0"],
    ["--selectors", "oracle", "--mlp-density", "0.5", "--plan", "1%"],
    ["--selectors", "oracle", "--mlp-density", "0.5", "--stride", "4"],
    ["--mlp-density", "0.5"], ["--speed"], ["--calibration", "x"],
    ["--plan", "1%", "--sparsity", "exact"], ["--isa", "mmx"],
  ])
  func `a comparison that makes no sense is 64 and one line`(arguments: [String]) throws {
    let text = Array(String(repeating: "The sea was wide and deep. ", count: 20).utf8)
    let result = try Program.run(
      ["eval", "--perplexity", "-", "--length", "16", "--windows", "1"] + arguments, input: text)
    #expect(result.status == 64, "\(result.errors)")
    #expect(result.output == "")
    #expect(isOneLine(result.errors), "\(result.errors)")
  }

  @Test func `predictors that were not trained are missing`() throws {
    let text = Array(String(repeating: "The sea was wide and deep. ", count: 20).utf8)
    let result = try Program.run(
      [
        "eval", "--perplexity", "-", "--length", "16", "--windows", "1", "--selectors", "predicted",
        "--head-density", "0.5",
      ], input: text)
    #expect(result.status == 66)
    #expect(result.errors.contains("dejavu train"))
  }

  @Test func `a window that does not fit the model is 65`() throws {
    for length in ["1", "4096"] {
      let result = try Program.run(
        ["eval", "--perplexity", "-", "--length", length, "--plan", "1%"],
        input: Array("The sea was wide and deep.".utf8))
      #expect(result.status == 65 && result.errors.contains("2 to 2048"), "\(result.errors)")
    }
  }

  @Test func `a text shorter than a window is 65 and both are named`() throws {
    let result = try Program.run(
      ["eval", "--perplexity", "-", "--length", "512", "--plan", "1%"],
      input: Array("The sea was wide and deep.".utf8))
    #expect(result.status == 65 && isOneLine(result.errors), "\(result.errors)")
    #expect(result.errors.contains("7 tokens and a window 512"), "\(result.errors)")
  }

  @Test func `a number for sparsity is told about plans`() throws {
    let result = try Program.run("generate", "x", "--sparsity", "0.5")
    #expect(result.status == 64)
    #expect(result.errors.contains("dejavu calibrate"))
  }

  @Test(arguments: ["generate", "inspect"])
  func `a missing model is 66`(command: String) throws {
    let model = command == "generate" ? ["x", "--model", "/nonexistent"] : ["/nonexistent"]
    let result = try Program.run([command] + model)
    #expect(result.status == 66)
    #expect(result.errors == "error: cannot read '/nonexistent': No such file or directory\n")
  }

  @Test func `a missing text is 66`() throws {
    let result = try Program.run("eval", "--perplexity", "/nonexistent")
    #expect(result.status == 66)
    #expect(result.errors == "error: cannot read '/nonexistent': No such file or directory\n")
    #expect(try Program.run("eval", "--perplexity", "/").status == 66)
  }

  @Test func `a measurement that the model does not allow is 65`() throws {
    let result = try Program.run(
      ["eval", "--perplexity", "-", "--context", "5000"], input: Array("The sea".utf8))
    #expect(result.status == 65)
    #expect(result.errors.contains("2048") && isOneLine(result.errors))
  }

  @Test func `a broken model is 65 and names what is wrong`() throws {
    let folder = try brokenModel()
    for arguments in [
      ["generate", "x", "--model", folder.path("model")], ["inspect", folder.path("model")],
      ["convert", folder.path("model"), folder.path("out")],
      ["pack", folder.path("model"), folder.path("out")],
    ] {
      let result = try Program.run(arguments)
      #expect(result.status == 65, "\(arguments)")
      #expect(result.errors.contains("shorter than the header length field"))
      #expect(isOneLine(result.errors))
    }
    #expect(folder.names == ["model"])
  }

  /// A copy of the model in the box whose weights are seven bytes long.
  private func brokenModel() throws -> TemporaryFolder {
    let folder = TemporaryFolder()
    try FileManager.default.copyItem(
      at: Repository.root.appendingPathComponent("Models/opt-16m"), to: folder.url("model"))
    try Data(repeating: 0, count: 7).write(to: folder.url("model/model.safetensors"))
    return folder
  }

  @Test func `an instruction set of another processor is 69`() throws {
    #if arch(arm64)
      let other = "avx2"
    #else
      let other = "neon"
    #endif
    let result = try Program.run("generate", "x", "--isa", other)
    #expect(result.status == 69)
    #expect(result.errors.contains(other))
  }

  @Test func `a prompt beyond the context is 65 with both numbers`() throws {
    let input = Array(String(repeating: "word ", count: 3000).utf8)
    let result = try Program.run(["generate"], input: input)
    #expect(result.status == 65)
    #expect(result.errors.contains("2048"))
  }

  @Test(
    .enabled(if: FileManager.default.fileExists(atPath: "/dev/full")),
    arguments: [["generate", "x", "-n", "4"], ["inspect"], ["inspect", "--json"], ["--help"]])
  func `a full disk is 74`(arguments: [String]) throws {
    let result = try Program.run(arguments, output: "/dev/full")
    #expect(result.status == 74)
    #expect(result.errors.hasPrefix("error: cannot write to standard output"))
  }

  @Test func `a reader that goes away ends the program quietly with 141`() throws {
    let shell = Process()
    let pipe = Pipe()
    shell.executableURL = URL(fileURLWithPath: "/bin/bash")
    shell.arguments = [
      "-c",
      "'\(Program.path)' generate x -n 1500 --temperature 0 | head -c 1 >/dev/null; "
        + "echo ${PIPESTATUS[0]}",
    ]
    shell.standardOutput = pipe
    let errors = Pipe()
    shell.standardError = errors
    try shell.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    #expect(String(decoding: output, as: UTF8.self) == "141\n")
    #expect(errors.fileHandleForReading.readDataToEndOfFile().isEmpty)
    shell.waitUntilExit()
  }

  @Test(.enabled(if: geteuid() != 0, "root may read everything"))
  func `a model that may not be read is 77`() throws {
    let folder = TemporaryFolder()
    try FileManager.default.createDirectory(
      at: folder.url("model"), withIntermediateDirectories: true)
    let config = folder.url("model/config.json")
    try Data("{}".utf8).write(to: config)
    try FileManager.default.setAttributes([.posixPermissions: 0], ofItemAtPath: config.path)
    try Data().write(to: folder.url("model/model.safetensors"))
    #expect(try Program.run("inspect", folder.path("model")).status == 77)
  }

  @Test(.enabled(if: geteuid() != 0, "root may read everything"))
  func `a text that may not be read is 77`() throws {
    let folder = TemporaryFolder()
    try Data("The sea".utf8).write(to: folder.url("text"))
    try FileManager.default.setAttributes(
      [.posixPermissions: 0], ofItemAtPath: folder.path("text"))
    #expect(try Program.run("eval", "--perplexity", folder.path("text")).status == 77)
  }

  @Test func `Ctrl-C ends the text with its figures and 130`() throws {
    signal(SIGINT, SIG_DFL)  // a parent that ignores it would hand that down
    let program = try Program(["generate", "x", "-n", "2000"] + Program.greedy)
    while program.output.isEmpty { usleep(10_000) }
    program.interrupt()
    let result = program.wait()
    #expect(result.status == 130)
    #expect(result.output.hasSuffix("\n"))
    #expect(result.errors.contains("tokens/s"))
  }

  private func isOneLine(_ text: String) -> Bool {
    text.hasPrefix("error: ") && text.hasSuffix("\n")
      && text.dropLast().allSatisfy { !$0.isNewline }
  }
}
