import Foundation
import Testing

struct ReadmeTests {
  @Test func `the README's example is the one that is compiled here`() throws {
    let source = try Repository.text("Tests/DejaVuCLITests/ReadmeExample.swift")
    let readme = try Repository.text("README.md")
    let start = try #require(readme.range(of: "```swift\n"))
    let end = try #require(readme.range(of: "```", range: start.upperBound..<readme.endIndex))
    #expect(source == String(readme[start.upperBound..<end.lowerBound]))
  }

  @Test func `the README's example tells a story`() async throws {
    try await tellStory()
  }
}
