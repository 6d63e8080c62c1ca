/// How far a long operation has come, reported from the thread that does it.
public struct LoadingProgress: Hashable, Sendable {
  public let bytesDone: Int
  public let bytesTotal: Int

  public init(bytesDone: Int, bytesTotal: Int) {
    self.bytesDone = bytesDone
    self.bytesTotal = bytesTotal
  }
}
