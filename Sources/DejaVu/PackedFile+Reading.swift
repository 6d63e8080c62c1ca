package import DejaVuCore
package import DejaVuFormats

extension PackedFile {
  /// A packed model, mapped.
  package struct Opened {
    package let model: PackedModel
    package let layout: PackedLayout
    /// Text pairs of the files' headers, without those that only describe tensors.
    package let metadata: [String: String]
  }

  /// Maps the packed files in a folder and checks every tensor against what the architecture implies.
  ///
  /// Headers are read, weights are not: a scale that is damaged shows when logits are not finite.
  ///
  /// - Throws: ``CheckpointError`` naming the tensor and both sides.
  package static func open(
    folder: String, architecture: Architecture
  ) throws(CheckpointError) -> Opened {
    let source = try PackedSource(folder: folder)
    let formats = try source.formats()
    let layout = PackedLayout(
      architecture: architecture, types: types(formats, architecture))
    try source.checkScales(layout)
    for entry in layout.entries {
      guard let tensor = source.tensors[entry.name], let format = formats[entry.name] else {
        throw .missingTensor(name: entry.name, folder: folder)
      }
      try check(tensor, format, against: entry)
    }
    let model = layout.model(owner: source) { entry in
      guard let tensor = source.tensors[entry.name], let base = tensor.bytes.baseAddress else {
        preconditionFailure("\(entry.name) was just found")
      }
      return UnsafeRawPointer(base)
    }
    let metadata = source.metadata.filter {
      !$0.key.hasPrefix(formatKey) && $0.key != versionKey
    }
    return Opened(model: model, layout: layout, metadata: metadata)
  }

  /// Matrices that kernels read together share a format: that of the first.
  private static func types(
    _ formats: [String: WeightFormat], _ architecture: Architecture
  ) -> PackedLayout.Types {
    func type(_ name: String) -> WeightFormat { formats[name] ?? .plain(.float32) }
    var types = PackedLayout.Types(uniform: .float32, layers: architecture.layers)
    types.embedding = type("embed.tokens")
    types.positions = type("embed.positions")
    types.projections = type("project.in")
    types.head = type("head")
    types.attention = (0..<architecture.layers).map { type("layers.\($0).attention.query") }
    types.mlp = (0..<architecture.layers).map { type("layers.\($0).mlp.bundle") }
    func scales(_ name: String) -> ScaleRowFormat? {
      if case .scales(let format) = type(name) { format } else { nil }
    }
    types.outputScales = (0..<architecture.layers).map {
      scales("layers.\($0).attention.output_scales")
    }
    types.downScales = (0..<architecture.layers).map { scales("layers.\($0).mlp.down_scales") }
    return types
  }

  private static func check(
    _ tensor: TensorEntry, _ format: WeightFormat, against entry: PackedLayout.Entry
  ) throws(CheckpointError) {
    guard format == entry.format else {
      throw .invalidTensor(
        file: tensor.file.path, name: entry.name,
        reason: "it is stored as \(format.name) but its neighbours are \(entry.format.name)")
    }
    guard tensor.shape == entry.shape else {
      throw .shapeMismatch(name: entry.name, expected: entry.shape, found: tensor.shape)
    }
    let alignment = format.groupwise == nil ? 64 : 4
    guard tensor.range.lowerBound % alignment == 0 else {
      throw .invalidTensor(
        file: tensor.file.path, name: entry.name,
        reason: "it starts at byte \(tensor.range.lowerBound), not at a multiple of \(alignment)")
    }
  }
}

/// The files of a packed model, mapped for as long as this lives.
private final class PackedSource: Sendable {
  let folder: String
  let tensors: [String: TensorEntry]
  let metadata: [String: String]

  init(folder: String) throws(CheckpointError) {
    self.folder = folder
    let single = folder + "/" + PackedFile.fileName
    guard !FileSystem.exists(single) else {
      let file = try Self.open(single)
      tensors = Dictionary(file.entries.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
      metadata = file.metadata
      return
    }
    let index = try ShardIndex(path: folder + "/" + PackedFile.indexName)
    var shards: [(shard: String, entries: [TensorEntry])] = []
    var metadata: [String: String] = [:]
    for shard in index.shards {
      let file = try Self.open(folder + "/" + shard)
      shards.append((shard, file.entries))
      metadata.merge(file.metadata) { first, _ in first }
    }
    tensors = try index.gather(shards).tensors
    self.metadata = metadata
  }

  private static func open(_ path: String) throws(CheckpointError) -> SafetensorsFile {
    let file = try SafetensorsFile(path: path)
    let version = file.metadata[PackedFile.versionKey]
    let known = PackedFile.versions
    guard let version, known.contains(version) else {
      throw .unsupported(
        file: path,
        reason: "it is packed in version '\(version ?? "none")' and this program reads versions "
          + "\(known.joined(separator: ", ")); pack or quantize the model again")
    }
    return file
  }

  /// Tensors of scales that rows share, and those of the rows.
  private static let scaled = [
    ("attention.output_scales", "attention.output"), ("mlp.down_scales", "mlp.bundle"),
  ]

  /// Whether rows of codes share scales exactly where the files' version says so: rows that do have
  /// none of their own.
  func checkScales(_ layout: PackedLayout) throws(CheckpointError) {
    let shares = metadata[PackedFile.versionKey] == PackedFile.sharedVersion
    for layer in 0..<layout.architecture.layers {
      for (scales, codes) in Self.scaled {
        let (name, owner) = ("layers.\(layer).\(scales)", "layers.\(layer).\(codes)")
        let codes = layout.entry(owner)?.format.groupwise
        let tensor = tensors[name]
        guard shares, let codes else {
          guard let tensor else { continue }
          throw .invalidTensor(
            file: tensor.file.path, name: name,
            reason: "'\(owner)' has scales of its own, or needs none")
        }
        guard let tensor else {
          throw .missingTensor(name: name, folder: folder)
        }
        guard case .scales(let format)? = layout.entry(name)?.format, format.bits == codes.bits
        else {
          throw .invalidTensor(
            file: tensor.file.path, name: name,
            reason: "it does not hold scales for '\(owner)', which is \(codes.name)")
        }
      }
    }
  }

  /// What every tensor is stored in.
  func formats() throws(CheckpointError) -> [String: WeightFormat] {
    var formats: [String: WeightFormat] = [:]
    for (name, tensor) in tensors { formats[name] = try format(of: tensor) }
    return formats
  }

  private func format(of tensor: TensorEntry) throws(CheckpointError) -> WeightFormat {
    if let dtype = tensor.dtype { return .plain(dtype) }
    let stated = metadata[PackedFile.formatKey + tensor.name]
    guard tensor.storedType == StoredType.uint8.rawValue, let stated else {
      throw .invalidTensor(
        file: tensor.file.path, name: tensor.name,
        reason: "it is stored as \(escaped(tensor.storedType)) and the file's metadata says "
          + (stated == nil ? "no format for it" : "it holds codes, which are U8"))
    }
    if let scales = ScaleRowFormat(name: stated) { return .scales(scales) }
    guard let format = GroupwiseFormat(name: stated) else {
      throw .invalidTensor(
        file: tensor.file.path, name: tensor.name,
        reason: "its format is '\(escaped(stated))', which this program does not know")
    }
    return .groupwise(format)
  }
}
