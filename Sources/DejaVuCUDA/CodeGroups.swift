import CDejaVuCUDA
package import DejaVuCore

/// Groups of weights in codes, the same in a whole model: kernels are compiled for them.
package struct CodeGroups: Hashable, Sendable {
  /// Columns that share a scale.
  package var size: Int
  /// Whether every group has a zero of its own.
  package var haveZeros: Bool

  package init(size: Int, haveZeros: Bool) {
    self.size = size
    self.haveZeros = haveZeros
  }

  /// Bits that there are kernels for.
  static let allBits = [4, 8]

  /// The groups of the first format that has any.
  package static func first(of formats: some Sequence<WeightFormat>) -> CodeGroups? {
    formats.lazy.compactMap(\.groupwise).first.map {
      CodeGroups(size: $0.group, haveZeros: $0.hasZeros)
    }
  }

  /// Whether there are kernels for a model's weights.
  ///
  /// - Throws: ``BackendError/unavailable(backend:reason:)``, saying what to do.
  static func check(_ model: PackedModel) throws(BackendError) {
    guard !model.sharesScales else {
      throw CUDADevice.unavailable(
        "W_O and W2 have groups of inputs, as GPTQ and AWQ publish them, and a card has no kernels for "
          + "rows that share scales; run on the CPU, or quantize the model's floats")
    }
    let groups = first(of: model.formats)
    for case .groupwise(let format) in model.formats {
      guard allBits.contains(format.bits) else {
        throw CUDADevice.unavailable(
          "it has kernels for codes of 4 and 8 bits, not for \(format.name); quantize with "
            + "--bits 4 or 8, or run on the CPU")
      }
      guard format.group == groups?.size, format.hasZeros == groups?.haveZeros else {
        throw CUDADevice.unavailable(
          "it takes one size of groups in a model, not \(format.name) beside groups of "
            + "\(groups?.size ?? 0); quantize all with one --group, or run on the CPU")
      }
    }
  }
}

extension GroupwiseFormat {
  /// Bytes from one row of codes to the next on a card: rows begin at multiples of 16, and at those of
  /// 128, the lines of its cache, where that costs an eighth at most.
  static func cardStride(_ rowBytes: Int) -> Int {
    let unit = rowBytes < 1024 ? 16 : 128
    return (rowBytes + unit - 1) / unit * unit
  }
}

extension RowMatrix {
  var kernelType: KernelType {
    switch format {
    case .plain(let dtype): KernelType(dtype)
    case .groupwise(let format): format.bits == 4 ? .codes4 : .codes8
    case .scales(let format): preconditionFailure("\(format.name) holds no weights")
    }
  }

  /// Bytes from one row to the next on a card.
  var cardStride: Int { format.dtype == nil ? GroupwiseFormat.cardStride(stride) : stride }

  /// Bytes that a block shares for sums of the rows.
  var segmentBytes: Int { kernelType.isCoded ? Int(dv_segment_bytes) : 0 }

  /// Bytes of a prepared vector that meets the rows.
  var vectorBytes: Int { LaunchGeometry.vectorBytes(columns, meeting: format) }
}

extension LaunchGeometry {
  /// Bytes of a prepared vector: floats, or two bytes a column and a step for 128 of them.
  static func vectorBytes(_ width: Int, meeting format: WeightFormat) -> Int {
    let wide = arranged(width)
    return format.dtype == nil ? 2 * wide + (wide / 128 + 3) / 4 * 16 : 4 * wide
  }
}

extension CUDABackend {
  /// Elements of one kept input, in the cache's type: as heads read it.
  static func keptStride(of model: PackedModel, _ options: CUDAOptions) -> Int {
    let size = cacheType(of: model, options).size
    let plain = LaunchGeometry.arranged(model.architecture.hidden)
    return model.layers.reduce(plain) { stride, layer in
      layer.query.kernelType.isCoded ? max(stride, layer.query.vectorBytes / size) : stride
    }
  }
}
