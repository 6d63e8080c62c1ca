import DejaVuJSON

/// What a tensor of a file to be written is called and holds.
public struct SafetensorsDeclaration: Hashable, Sendable {
  /// Its key in the header; no two of a file are equal.
  public let name: String
  /// The type of its elements, stored little-endian.
  public let type: StoredType
  /// Extents, the slowest first; an empty list is a single element.
  public let shape: [Int]

  /// Declares a tensor; whether it can be written, the writer says.
  public init(name: String, type: StoredType, shape: [Int]) {
    self.name = name
    self.type = type
    self.shape = shape
  }
}

/// Writes a safetensors file piece by piece, never holding more than a piece.
///
/// All tensors are declared first; then their bytes come in the declared order, each tensor in
/// any number of pieces. The file has its name only after `finish`; a writer that fails or is
/// dropped leaves nothing behind.
///
/// The data starts at a multiple of 64 bytes and has no gaps, so tensors are aligned to their
/// elements when wider types are declared before narrower ones.
public final class SafetensorsWriter {
  private let output: AtomicFile
  private let tensors: [SafetensorsDeclaration]
  private let sizes: [Int]
  private var current = 0
  private var written = 0

  /// Starts a file beside `path` and writes its header.
  ///
  /// - Parameters:
  ///   - path: where the file is to appear; a file already there is replaced by `finish`.
  ///   - tensors: every tensor, in the order in which its bytes will come.
  ///   - metadata: text pairs for the header.
  /// - Throws: ``CheckpointError/unwritable(path:reason:)`` when a declaration could not be read
  ///   back (a name twice, a shape that overflows), or the file cannot be made.
  public init(
    path: String, tensors: [SafetensorsDeclaration], metadata: [String: String] = [:]
  ) throws(CheckpointError) {
    sizes = try Self.sizes(of: tensors, path: path)
    let header = Self.header(tensors, sizes, metadata)
    guard header.count - 8 <= SafetensorsHeader.maximumBytes else {
      throw .unwritable(path: path, reason: "the header would exceed the format's 100 MB")
    }
    self.tensors = tensors
    output = try AtomicFile(path: path)
    try header.withUnsafeBufferPointer { bytes throws(CheckpointError) in
      try output.append(UnsafeRawBufferPointer(bytes))
    }
  }

  /// Appends the next bytes of a tensor.
  ///
  /// - Parameters:
  ///   - bytes: whole or part of the rest of the tensor, little-endian.
  ///   - name: the tensor, which must be the first that is not complete.
  /// - Throws: ``CheckpointError/unwritable(path:reason:)`` when it is not that tensor's turn,
  ///   the bytes are more than declared, or the disk refuses them.
  public func append(
    _ bytes: UnsafeRawBufferPointer, to name: String
  ) throws(CheckpointError) {
    skipComplete()
    // An empty tensor is complete before anything is appended to it.
    if bytes.isEmpty && tensors.contains(where: { $0.name == name }) { return }
    guard current < tensors.count, tensors[current].name == name else {
      let turn = current < tensors.count ? tensors[current].name : "(none)"
      throw refusal("bytes came for tensor '\(name)' when it was the turn of '\(turn)'")
    }
    guard bytes.count <= sizes[current] - written else {
      throw refusal("tensor '\(name)' was declared with \(sizes[current]) bytes and got more")
    }
    try output.append(bytes)
    written += bytes.count
  }

  /// Appends elements of a tensor, as `append(_:to:)` with bytes.
  public func append<Element: BitwiseCopyable>(
    _ elements: [Element], to name: String
  ) throws(CheckpointError) {
    try elements.withUnsafeBufferPointer { buffer throws(CheckpointError) in
      try append(UnsafeRawBufferPointer(buffer), to: name)
    }
  }

  /// Flushes the file to the disk and gives it its name.
  ///
  /// - Throws: ``CheckpointError/unwritable(path:reason:)`` when a tensor is incomplete or the
  ///   disk refuses.
  public func finish() throws(CheckpointError) {
    skipComplete()
    guard current == tensors.count else {
      throw refusal(
        "tensor '\(tensors[current].name)' has \(written) of \(sizes[current]) bytes")
    }
    try output.commit()
  }

  /// Deletes what was written so far; dropping the writer does the same.
  public func abandon() { output.abandon() }

  private func skipComplete() {
    while current < tensors.count && written == sizes[current] {
      current += 1
      written = 0
    }
  }

  private func refusal(_ reason: String) -> CheckpointError {
    abandon()
    return .unwritable(path: output.path, reason: escaped(reason))
  }
}

extension SafetensorsWriter {
  /// Bytes of each tensor, after checking that our own reader would take the file.
  private static func sizes(
    of tensors: [SafetensorsDeclaration], path: String
  ) throws(CheckpointError) -> [Int] {
    var names: Set<[UInt8]> = ["__metadata__".utf8.map { $0 }]
    var sizes: [Int] = []
    var total = 0
    guard tensors.count <= SafetensorsHeader.maximumTensors else {
      throw .unwritable(path: path, reason: "\(tensors.count) tensors are too many for one file")
    }
    for tensor in tensors {
      let name = Array(tensor.name.utf8)
      guard names.insert(name).inserted, name.count <= SafetensorsHeader.maximumNameBytes,
        !name.contains(where: { $0 < 0x20 || $0 == 0x7F })
      else {
        throw .unwritable(
          path: path, reason: "'\(escaped(tensor.name))' is no name or is declared twice")
      }
      let bytes = tensor.type.byteCount(shape: tensor.shape)
      let (sum, overflow) = total.addingReportingOverflow(bytes ?? 0)
      guard let bytes, !overflow, sum <= SafetensorsHeader.maximumExtent,
        tensor.shape.count <= SafetensorsHeader.maximumRank
      else {
        throw .unwritable(
          path: path,
          reason: "tensor '\(escaped(tensor.name))' cannot have the shape \(tensor.shape)")
      }
      total = sum
      sizes.append(bytes)
    }
    return sizes
  }

  /// The length field and the header, padded so that data starts at a multiple of 64 bytes.
  private static func header(
    _ tensors: [SafetensorsDeclaration], _ sizes: [Int], _ metadata: [String: String]
  ) -> [UInt8] {
    var members: [String] = []
    if !metadata.isEmpty {
      let pairs = metadata.sorted { $0.key < $1.key }
        .map { "\(JSON.quoted($0)):\(JSON.quoted($1))" }
      members.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
    }
    var offset = 0
    for (tensor, size) in zip(tensors, sizes) {
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      members.append(
        "\(JSON.quoted(tensor.name)):{\"dtype\":\"\(tensor.type.rawValue)\",\"shape\":[\(shape)],"
          + "\"data_offsets\":[\(offset),\(offset + size)]}")
      offset += size
    }
    var text = Array("{\(members.joined(separator: ","))}".utf8)
    while (8 + text.count) % 64 != 0 { text.append(UInt8(ascii: " ")) }
    let length = withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) }
    return length + text
  }
}
