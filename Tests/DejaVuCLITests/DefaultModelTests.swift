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
    #expect(path?.hasSuffix("Models/opt-16m") == true)
  }

  @Test func `folders are looked at from the executable upwards, then the install prefix`() {
    #expect(
      DefaultModel.candidates(executable: "/usr/local/bin/dejavu") == [
        "/usr/local/bin/Models/opt-16m", "/usr/local/Models/opt-16m", "/usr/Models/opt-16m",
        "/Models/opt-16m", "/usr/local/share/dejavu/Models/opt-16m",
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
