import Foundation
import Testing

/// Plans through the program's door: what is stored, what is asked for, what `auto` keeps.
struct PlanDoorTests {
  private static let prompt = "Once upon a time"
  private let folder = TemporaryFolder()

  /// A copy of the model in the box, with other bytes for its predictor file, or without it.
  private func model(_ change: (Data) throws -> Data?) throws -> String {
    let source = Repository.root.appendingPathComponent("Models/opt-16m")
    try FileManager.default.createDirectory(
      at: folder.url("model"), withIntermediateDirectories: true)
    for name in try FileManager.default.contentsOfDirectory(atPath: source.path) {
      let target = folder.url("model/\(name)")
      if name == "predictors.safetensors" {
        let bytes = try Data(contentsOf: source.appendingPathComponent(name))
        try change(bytes)?.write(to: target)
      } else {
        try FileManager.default.createSymbolicLink(
          at: target, withDestinationURL: source.appendingPathComponent(name))
      }
    }
    return folder.path("model")
  }

  private func generate(
    _ arguments: [String], model: String? = nil, environment: [String: String] = [:]
  ) throws -> Program.Result {
    try Program.run(
      ["generate", Self.prompt, "-n", "12"] + Program.greedy + arguments
        + (model.map { ["--model", $0] } ?? []), environment: environment)
  }

  // Density ---------------------------------------------------------------------------------------

  @Test func `a density between the stored plans is computed, more where more is asked`() throws {
    var last = 0.0
    for asked in [0.45, 0.55, 0.65] {
      let result = try generate(["--density", String(asked), "-n", "96", "--json"])
      #expect(result.status == 0, "\(result.errors)")
      let object = try parsedObject(result.output)
      let computed = try #require(object["density"] as? Double)
      #expect(abs(computed - asked) < 0.06, "\(computed) for \(asked)")
      #expect(computed > last && object["mode"] as? String == "sparse")
      last = computed
    }
  }

  @Test func `a density outside the stored plans names their range and what to do`() throws {
    for asked in ["0.05", "1"] {
      let result = try generate(["--density", asked])
      #expect(result.status == 65)
      #expect(result.output == "")
      #expect(
        result.errors.firstMatch(of: /outside 0\.\d+ to 0\.\d+/) != nil, "\(result.errors)")
      #expect(result.errors.contains("dejavu calibrate --density"))
    }
  }

  @Test(arguments: [
    ["--density", "0"], ["--density", "1.5"], ["--density", "x"], ["--density", "nan"],
    ["--density", "0.5", "--sparsity", "exact"],
  ])
  func `a density that is none is wrong usage`(arguments: [String]) throws {
    let result = try generate(arguments)
    #expect(result.status == 64)
    #expect(result.errors.hasPrefix("error: "))
  }

  // Files -----------------------------------------------------------------------------------------

  @Test func `without a predictor file a plan or a density says how to make one`() throws {
    let model = try model { _ in nil }
    for arguments in [["--sparsity", "1%"], ["--density", "0.5"]] {
      let result = try generate(arguments, model: model)
      #expect(result.status == 66)
      #expect(result.errors.contains("no plans lie beside the model"))
      #expect(result.errors.contains("dejavu calibrate"))
    }
  }

  @Test func `a plan that is not there names those that are`() throws {
    let result = try generate(["--sparsity", "0.1%"])
    #expect(result.status == 66)
    #expect(result.errors.contains("has no plan '0.1%', but '1%'"))
  }

  @Test func `a damaged or a foreign predictor file is 65, for auto too`() throws {
    let cut = try model { $0.dropLast(7).prefix(900) }
    for arguments in [["--sparsity", "1%"], ["--sparsity", "auto"], ["--density", "0.5"]] {
      let result = try generate(arguments, model: cut)
      #expect(result.status == 65)
      #expect(result.errors.contains("damaged"), "\(result.errors)")
    }
    try FileManager.default.removeItem(at: folder.url("model"))
    let foreign = try model { bytes in
      var bytes = bytes
      let key = try #require(bytes.range(of: Data("dejavu.fingerprint\":\"".utf8)))
      bytes[key.upperBound] = bytes[key.upperBound] == 0x30 ? 0x31 : 0x30
      return bytes
    }
    let result = try generate(["--sparsity", "1%"], model: foreign)
    #expect(result.status == 65)
    #expect(result.errors.contains("belong to the model"))
  }

  @Test func `a plan for other weights warns once and runs`() throws {
    let model = try model { bytes in
      var bytes = bytes
      while let word = bytes.range(of: Data("float16".utf8)) {
        bytes.replaceSubrange(word, with: Data("float32".utf8))
      }
      return bytes
    }
    let result = try generate(["--sparsity", "1%"], model: model)
    #expect(result.status == 0, "\(result.errors)")
    let lines = result.errors.split(separator: "\n").filter { $0.hasPrefix("warning: ") }
    #expect(lines.count == 1)
    #expect(lines.first?.contains("float32") == true && lines.first?.contains("float16") == true)
    #expect(lines.first?.contains("dejavu calibrate") == true)
    #expect(try generate(["--sparsity", "1%"]).output == result.output)
  }

  // Auto ------------------------------------------------------------------------------------------

  private var cache: [String: String] { ["XDG_CACHE_HOME": folder.path("cache")] }
  private var kept: String { folder.text("cache/dejavu/crossovers.json") }

  @Test func `auto measures once, keeps it, and says what it took`() throws {
    let first = try generate(["--sparsity", "auto"], environment: cache)
    #expect(first.status == 0)
    #expect(first.errors.contains("auto: ") && first.errors.contains("measured just now"))
    #expect(folder.names == ["cache"])
    let stored = kept
    let object = try parsedObject(stored)
    #expect((object["crossovers"] as? [Any])?.count == 1)
    let second = try generate(["--sparsity", "auto"], environment: cache)
    #expect(second.errors.contains("measured before on this machine"), "\(second.errors)")
    #expect(second.output == first.output)
    #expect(kept == stored)
    // Another number of threads is another crossover.
    let threads = try generate(["--sparsity", "auto", "--threads", "2"], environment: cache)
    #expect(threads.errors.contains("measured just now"))
    #expect((try parsedObject(kept)["crossovers"] as? [Any])?.count == 2)
  }

  @Test(arguments: [
    "", "{", "[]", #"{"version":2,"crossovers":[]}"#, #"{"version":1}"#,
    #"{"version":1,"crossovers":[{"key":"x","dense":-1,"exact":1}]}"#,
    #"{"version":1,"crossovers":[7,null,{"key":7}]}"#, "\u{0}\u{1}garbage",
  ])
  func `a cache that makes no sense is measured anew`(text: String) throws {
    try FileManager.default.createDirectory(
      at: folder.url("cache/dejavu"), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: folder.url("cache/dejavu/crossovers.json"))
    let result = try generate(["--sparsity", "auto"], environment: cache)
    #expect(result.status == 0)
    #expect(result.errors.contains("measured just now"))
    #expect((try parsedObject(kept)["crossovers"] as? [Any])?.count == 1)
  }

  @Test func `what was measured of other models stays`() throws {
    try FileManager.default.createDirectory(
      at: folder.url("cache/dejavu"), withIntermediateDirectories: true)
    let entry = #"{"key":"other","dense":1.5,"exact":0.25,"sparse":null}"#
    let other = #"{"version":1,"crossovers":[\#(entry)]}"#
    try Data(other.utf8).write(to: folder.url("cache/dejavu/crossovers.json"))
    _ = try generate(["--sparsity", "auto"], environment: cache)
    let entries = try #require(try parsedObject(kept)["crossovers"] as? [[String: Any]])
    #expect(entries.count == 2 && entries[1]["key"] as? String == "other")
    #expect(entries[1]["exact"] as? Double == 0.25)
  }

  @Test func `a crossover that was kept decides`() throws {
    _ = try generate(["--sparsity", "auto"], environment: cache)
    for (figures, mode) in [
      ((1.0, 2.0, 3.0), "dense"), ((1, 0.5, 0.9), "exact"), ((1, 0.9, 0.5), "sparse"),
    ] {
      let entries = try #require(try parsedObject(kept)["crossovers"] as? [[String: Any]])
      let entry: [String: Any] = [
        "key": entries[0]["key"] as? String ?? "", "dense": figures.0, "exact": figures.1,
        "sparse": figures.2,
      ]
      let data = try JSONSerialization.data(
        withJSONObject: ["version": 1, "crossovers": [entry]])
      try data.write(to: folder.url("cache/dejavu/crossovers.json"))
      let result = try generate(["--sparsity", "auto", "--json"], environment: cache)
      #expect(try parsedObject(result.output)["mode"] as? String == mode)
    }
  }

  @Test func `auto without a cache or a predictor file still runs`() throws {
    let model = try model { _ in nil }
    let result = try generate(["--sparsity", "auto", "--json"], model: model)
    #expect(result.status == 0)
    let mode = try parsedObject(result.output)["mode"] as? String
    #expect(mode == "exact" || mode == "dense")
    // A cache folder that cannot be made is no error either.
    let blocked = try generate(
      ["--sparsity", "auto"], environment: ["XDG_CACHE_HOME": "/dev/null"])
    #expect(blocked.status == 0 && blocked.errors.contains("measured just now"))
  }

  // Calibrate -------------------------------------------------------------------------------------

  @Test func `calibrate stores a plan beside others and prints the documented keys`() throws {
    let model = try model { $0 }
    let text = (0..<400).map { "The sea was wide and deep, and the \($0)th wave came in. " }
    let result = try Program.run(
      [
        "calibrate", "--model", model, "--text", "-", "--windows", "2", "--density", "0.6",
        "--bits", "4", "--name", "rough", "--json", "--quiet",
      ], input: Array(text.joined().utf8))
    #expect(result.status == 0, "\(result.errors)")
    let object = try parsedObject(result.output)
    let documentation = try Repository.text("Documentation/JSON.md")
    let section = try #require(
      documentation.components(separatedBy: "\n## ").first {
        $0.hasPrefix("`dejavu calibrate`")
      })
    #expect(
      Set(object.keys)
        == Set(section.matches(of: /(?m)^\| `([a-z0-9_]+)`/).map { String($0.1) }))
    #expect(object["plan"] as? String == "rough")
    #expect(abs((object["density"] as? Double ?? 0) - 0.6) < 0.02)
    #expect((object["layers"] as? [Any])?.count == 6)
    #expect(try generate(["--sparsity", "rough"], model: model).status == 0)
    #expect(try generate(["--sparsity", "1%"], model: model).status == 0)
  }

  // A drawing -------------------------------------------------------------------------------------

  @Test func `runs of an earlier result of the same tokens are drawn beside`() throws {
    let text = String(repeating: "The sea was wide and deep. ", count: 300)
    let (drawing, earlier) = (folder.path("drawing.svg"), folder.path("earlier.json"))
    func evaluate(_ more: [String]) throws -> Program.Result {
      try Program.run(
        ["eval", "--perplexity", "-", "--plan", "1%", "--windows", "2", "--quiet"] + more,
        input: Array(text.utf8))
    }
    let first = try evaluate(["--length", "64", "--json"])
    #expect(first.status == 0, "\(first.errors)")
    try Data(first.output.utf8).write(to: folder.url("earlier.json"))
    let drawn = try evaluate(["--length", "64", "--plot", drawing, "--beside", earlier])
    #expect(drawn.status == 0, "\(drawn.errors)")
    let svg = folder.text("drawing.svg")
    #expect(svg.components(separatedBy: "<polyline").count - 1 == 3)
    #expect(svg.components(separatedBy: ">float16<").count - 1 == 6)
    let other = try evaluate(["--length", "32", "--plot", drawing, "--beside", earlier])
    #expect(other.status == 65 && other.errors.contains("it is of 126 tokens, and this run of 62"))
    #expect(try evaluate(["--length", "64", "--beside", earlier]).status == 64)
  }

  @Test(arguments: [
    ["--density", "0.5", "--mlp-density", "0.2"], ["--density", "0"], ["--mlp-density", "2"],
    ["--max-perplexity-increase", "0"], ["--max-perplexity-increase", "1%", "--density", "0.5"],
    ["--bits", "3"], ["--bits", ""], ["--bits", "4,4"], ["--rule", "best"], ["--name", "auto"],
    ["--name", "0.5"], ["--name", ""],
  ])
  func `a target that is none is wrong usage`(arguments: [String]) throws {
    let result = try Program.run(["calibrate", "--text", "-"] + arguments)
    #expect(result.status == 64, "\(arguments)")
    #expect(result.output == "")
  }

  @Test func `heads without predictors are 65 and say what makes them`() throws {
    let model = try model { _ in nil }
    let text = String(repeating: "The sea was wide and deep. ", count: 300)
    let result = try Program.run(
      [
        "calibrate", "--model", model, "--text", "-", "--windows", "2", "--head-density", "0.5",
      ], input: Array(text.utf8))
    #expect(result.status == 65)
    #expect(result.errors.contains("dejavu train"))
  }
}
