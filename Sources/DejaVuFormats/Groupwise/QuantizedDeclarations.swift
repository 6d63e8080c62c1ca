extension QuantizedRows {
  /// The tensors that hold a matrix in a file: `.scales`, `.zeros` unless symmetric, `.codes`.
  package static func declarations(
    _ name: String, format: GroupFormat, rows: Int, columns: Int
  ) -> [SafetensorsDeclaration] {
    let groups = format.groups(columns: columns)
    let scales = SafetensorsDeclaration(
      name: name + ".scales", type: .float16, shape: [rows, groups])
    let zeros = SafetensorsDeclaration(
      name: name + ".zeros", type: .float16, shape: [rows, groups])
    let codes = SafetensorsDeclaration(
      name: name + ".codes", type: .uint8, shape: [rows, format.codeBytes(columns: columns)])
    return format.isSymmetric ? [scales, codes] : [scales, zeros, codes]
  }

  /// The rows' codes as files hold them, `[rows, code bytes]`.
  package var packedCodes: [UInt8] {
    let width = format.codeBytes(columns: columns)
    return [UInt8](unsafeUninitializedCapacity: rows * width) { buffer, count in
      codes.withUnsafeBufferPointer { codes in
        guard let from = codes.baseAddress, let to = buffer.baseAddress else { return }
        for row in 0..<rows {
          CodeBits.pack(
            from + row * columns, count: columns, bits: format.bits, into: to + row * width)
        }
      }
      count = rows * width
    }
  }
}
