import CDejaVuCUDA
import DejaVuCore

/// A chooser's matrices on a card, codes apart from scales.
final class DeviceChooser {
  struct Matrix {
    let codes: DeviceMemory
    let scales: DeviceMemory
    let host: GroupwiseMatrix
    /// Of a row, its padding included: whole blocks of 128.
    var columns: Int { host.format.paddedColumns(host.columns) }
  }

  /// Where a chooser's numbers lie on the host: what it is known by.
  struct Key: Hashable {
    let first: UnsafeRawPointer
    let bias: UnsafePointer<Float>?
    let gain: UnsafePointer<Float>?

    init(_ weights: ChooserWeights) {
      (first, bias, gain) = (weights.first.base, weights.bias?.base, weights.gain?.base)
    }
  }

  let first: Matrix
  let second: Matrix?
  let bias: DeviceMemory?
  let gain: DeviceMemory?
  /// float: the score that its rows had to exceed last, where that is measured.
  var level: DeviceMemory?
  /// float `[rank]` of every token, between the two matrices.
  var hidden: CUDABuffer?
  var hiddenTokens = 0

  init(_ weights: ChooserWeights, on device: CUDADevice) throws(BackendError) {
    first = try Self.upload(weights.first, to: device)
    second =
      if let matrix = weights.second { try Self.upload(matrix, to: device) } else { nil }
    bias = try Self.upload(weights.bias, to: device)
    gain = try Self.upload(weights.gain, to: device)
  }

  private static func upload(
    _ vector: FloatVector?, to device: CUDADevice
  ) throws(BackendError) -> DeviceMemory? {
    guard let vector else { return nil }
    let memory = try DeviceMemory(device, byteCount: 4 * vector.count, what: "a chooser's vector")
    device.copy(vector.base, to: memory.address, bytes: 4 * vector.count)
    return memory
  }

  private static func upload(
    _ matrix: GroupwiseMatrix, to device: CUDADevice
  ) throws(BackendError) -> Matrix {
    let codeBytes = matrix.format.codeBytes(matrix.columns)
    let scaleBytes = 2 * matrix.format.groups(matrix.columns)
    var codes = [UInt8](repeating: 0, count: matrix.rows * codeBytes)
    var scales = [UInt8](repeating: 0, count: matrix.rows * scaleBytes)
    codes.withUnsafeMutableBytes { codes in
      scales.withUnsafeMutableBytes { scales in
        guard let codes = codes.baseAddress, let scales = scales.baseAddress else { return }
        for row in 0..<matrix.rows {
          let from = matrix.base + row * matrix.rowBytes
          (codes + row * codeBytes).copyMemory(from: from, byteCount: codeBytes)
          (scales + row * scaleBytes).copyMemory(from: from + codeBytes, byteCount: scaleBytes)
        }
      }
    }
    func place(_ bytes: [UInt8]) throws(BackendError) -> DeviceMemory {
      let memory = try DeviceMemory(device, byteCount: bytes.count, what: "a chooser")
      bytes.withUnsafeBytes {
        if let base = $0.baseAddress { device.copy(base, to: memory.address, bytes: $0.count) }
      }
      return memory
    }
    return Matrix(codes: try place(codes), scales: try place(scales), host: matrix)
  }
}
