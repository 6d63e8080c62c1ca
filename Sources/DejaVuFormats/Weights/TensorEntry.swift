public import DejaVuCore

/// One tensor of a checkpoint: what it is and where its bytes lie.
///
/// - Invariant: `offset + product(shape) · elementSize` lies within the file, whichever reader
///   made the entry; elements are contiguous in row-major order.
public struct TensorEntry: Sendable {
  /// The tensor's key in the file, such as `model.layers.0.mlp.up_proj.weight`.
  public let name: String
  /// Nil for a type that weights cannot have (integers, 8-bit floats); such tensors are listed
  /// and never read as weights.
  public let dtype: DType?
  /// The file's own word for the element type, for messages.
  public let storedType: String
  /// Extents, the slowest first; an empty list is a single element.
  public let shape: [Int]
  /// Where the bytes are; the entry keeps it mapped.
  public let file: MappedFile
  /// Bytes of the file that the tensor covers.
  public let range: Range<Int>

  /// An entry whose invariant the reader that makes it has checked.
  public init(
    name: String, dtype: DType?, storedType: String, shape: [Int], file: MappedFile,
    range: Range<Int>
  ) {
    self.name = name
    self.dtype = dtype
    self.storedType = storedType
    self.shape = shape
    self.file = file
    self.range = range
  }

  /// Calls `body` with the tensor's bytes, in place; they must not leave it.
  public func withBytes<Result, Failure>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try file.withBytes { whole throws(Failure) in
      try body(UnsafeRawBufferPointer(rebasing: whole[range]))
    }
  }

  /// The tensor's bytes, in place.
  ///
  /// Valid only while something holds `file`: a caller whose last use of the entry is this property
  /// must use `withBytes` instead.
  public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: file.bytes[range]) }
}
