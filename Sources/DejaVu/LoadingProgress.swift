/// How far a long operation has come, reported from the thread that does it.
public struct LoadingProgress: Hashable, Sendable {
  /// Bytes of tensors done so far; never falls.
  public let bytesDone: Int
  /// Bytes of tensors in all.
  public let bytesTotal: Int

  /// Progress in bytes of tensors.
  public init(bytesDone: Int, bytesTotal: Int) {
    self.bytesDone = bytesDone
    self.bytesTotal = bytesTotal
  }
}
