import DejaVu
import Foundation
import Testing

struct DefaultModelTests {
  @Test func `the environment comes first, unseen`() {
    let path = DefaultModel.path(
      environment: ["DEJAVU_MODEL": "/somewhere"], executable: Program.path)
    #expect(path == "/somewhere")
  }

  @Test func `an empty variable says nothing`() {
    let path = DefaultModel.path(environment: ["DEJAVU_MODEL": ""], executable: Program.path)
    #expect(path?.hasSuffix("Models/opt-96m") == true)
  }

  @Test func `the model in the box continues a text, under its plan too`() throws {
    func run(_ sparsity: String) throws -> String {
      let result = try Program.run(
        ["generate", "Once upon a time", "-n", "32", "--sparsity", sparsity, "--json"]
          + Program.greedy, environment: ["DEJAVU_MODEL": ""])
      #expect(result.status == 0, "\(result.errors)")
      let object = try parsedObject(result.output)
      #expect((object["model"] as? String)?.hasSuffix("Models/opt-96m") == true)
      if sparsity == "1%" {
        let share = try #require(object["byte_share"] as? Double)
        #expect(share < 0.75)
      }
      return try #require(object["text"] as? String)
    }
    let text = try run("off")
    try Snapshot.check(text, "generate-default")
    #expect(try run("exact") == text)
    #expect(try run("1%").isEmpty == false)
  }

  @Test func `folders are looked at from the executable upwards, then the install prefix`() {
    #expect(
      DefaultModel.candidates(executable: "/usr/local/bin/dejavu") == [
        "/usr/local/bin/Models/opt-96m", "/usr/local/Models/opt-96m", "/usr/Models/opt-96m",
        "/Models/opt-96m", "/usr/local/share/dejavu/Models/opt-96m",
      ])
  }

  @Test func `a program that was moved elsewhere says so`() throws {
    let folder = TemporaryFolder()
    #expect(DefaultModel.path(environment: [:], executable: folder.path("dejavu")) == nil)
  }

  @Test func `a link to the program finds the model beside the program itself`() throws {
    let folder = TemporaryFolder()
    try FileManager.default.createSymbolicLink(
      atPath: folder.path("dejavu"), withDestinationPath: Program.path)
    let process = Process()
    process.executableURL = folder.url("dejavu")
    process.arguments = ["inspect"]
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }
}
