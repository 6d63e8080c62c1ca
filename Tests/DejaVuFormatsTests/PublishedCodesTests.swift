import DejaVuCore
import DejaVuFormats
import Foundation
import Testing

@Suite struct `Published codes` {
  @Test(arguments: Published.names)
  func `codes, scales and zeros stand for the weights that Python says`(name: String) throws {
    let folder = Published.folder(name)
    let checkpoint = try Checkpoint.open(folder: folder)
    #expect(checkpoint.warnings == [])
    let file = try SafetensorsFile(path: folder + "/golden.safetensors")
    let golden = Dictionary(uniqueKeysWithValues: file.entries.map { ($0.name, $0) })
    let layers = checkpoint.architecture.layers
    #expect(checkpoint.codes.count == layers * (checkpoint.architecture.isGated ? 7 : 6))
    for tensor in checkpoint.codes.values {
      try tensor.validate()
      let rows = try #require(golden["rows.\(tensor.name).weight"])
      let weights = try #require(golden["weight.\(tensor.name).weight"])
      #expect(weights.shape == [rows.shape[0], tensor.inputs])
      for (place, output) in rows.integers.enumerated() {
        let view = TensorView(
          tensor: weights.name, storedShape: weights.shape, rows: weights.shape[0],
          columns: weights.shape[1], rowStride: weights.shape[1])
        #expect(tensor.weights(of: output) == WeightMap.row(place, of: view, in: weights))
      }
    }
  }

  /// The two ways to read a matrix: by outputs, and by inputs.
  @Test(arguments: Published.names)
  func `any part of a matrix has the codes that the whole has`(name: String) throws {
    let checkpoint = try Checkpoint.open(folder: Published.folder(name))
    for tensor in checkpoint.codes.values {
      let whole = tensor.codes(outputs: 0..<tensor.outputs)
      for range in [0..<1, 3..<11, tensor.outputs - 5..<tensor.outputs] {
        #expect(tensor.codes(outputs: range) == Array(whole[range]))
      }
      for range in [0..<1, 5..<17, tensor.inputs - 3..<tensor.inputs] {
        let columns = range.map { input in whole.map { $0[input] } }
        #expect(tensor.codes(inputs: range) == columns)
      }
    }
  }

  @Test func `what a configuration says of codes is taken as it says`() throws {
    #expect(
      try published("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"desc_act\":true")
        == [4, 128, 1, 1])
    #expect(
      try published(
        "\"quant_method\":\"gptq\",\"bits\":8,\"group_size\":-1,\"sym\":false,"
          + "\"checkpoint_format\":\"gptq_v2\"") == [8, -1, 0, 0])
    #expect(
      try published(
        "\"quant_method\":\"awq\",\"w_bit\":4,\"q_group_size\":64,\"version\":\"GEMM\","
          + "\"zero_point\":true") == [4, 64, 0, 0])
  }

  private func published(_ fields: String) throws -> [Int] {
    let text =
      "{\"model_type\":\"opt\",\"hidden_size\":64,\"num_hidden_layers\":1,\"ffn_dim\":64,"
      + "\"num_attention_heads\":2,\"vocab_size\":9,\"quantization_config\":{\(fields)}}"
    let codes = try #require(try ModelConfig(text: Array(text.utf8), file: "c").codes)
    return [
      codes.bits, codes.group ?? -1, codes.storesZerosLessOne ? 1 : 0, codes.isSymmetric ? 1 : 0,
    ]
  }

  @Test(arguments: [
    ("opt-gptq", "quantize_config.json", "{\"bits\":4,\"group_size\":32,\"sym\":false}"),
    (
      "llama-awq", "quant_config.json",
      "{\"w_bit\":4,\"q_group_size\":32,\"zero_point\":true,\"version\":\"GEMM\"}"
    ),
  ])
  func `older checkpoints say so in a file of its own`(
    name: String, file: String, text: String
  ) throws {
    let changed = try ChangedCheckpoint(of: name)
    let original = try Checkpoint.open(folder: changed.folder.path)
    try changed.replace("quantization_config", by: "other_config")
    #expect(changed.complaint().contains("is implied by config.json"))
    try changed.folder.write(file, text)
    #expect(changed.complaint() == "(no error)")
    let opened = try Checkpoint.open(folder: changed.folder.path)
    #expect(
      opened.fingerprint == original.fingerprint && opened.codes.count == original.codes.count)
    try changed.folder.write(file, text.replacingOccurrences(of: "32", with: "48"))
    #expect(changed.complaint().contains("in 'FOLDER/\(file)' is 48"), "\(changed.complaint())")
  }

  @Test(arguments: [
    ("\"quant_method\": \"gptq\"", "\"quant_method\": \"aqlm\"", "quantized by 'aqlm'"),
    ("\"bits\": 4", "\"bits\": 3", "'quantization_config.bits' in 'FOLDER/config.json' is 3"),
    ("\"bits\": 4", "\"bits\": \"4\"", "is the string '4'"),
    ("\"bits\": 4", "\"bats\": 4", "is missing"),
    ("\"group_size\": 32", "\"group_size\": 16", "must be -1, 32, 64 or a multiple of 128"),
    ("\"group_size\": 32", "\"group_size\": 0", "must be -1, 32, 64 or a multiple of 128"),
    ("\"group_size\": 32", "\"group_size\": 128", "are no multiple of group_size 128"),
    ("\"checkpoint_format\": \"gptq\"", "\"checkpoint_format\": \"marlin\"", "must be gptq or"),
    ("\"desc_act\": false", "\"is_marlin_format\": true", "'quantization_config.is_marlin_format'"),
    ("\"sym\": false", "\"sym\": true", "where 'sym' in config.json says 8"),
  ])
  func `a configuration that is not read is refused`(
    text: String, other: String, expected: String
  ) throws {
    let changed = try ChangedCheckpoint(of: "opt-gptq")
    #expect(changed.complaint() == "(no error)")
    try changed.replace(text, by: other)
    #expect(changed.complaint().contains(expected), "\(changed.complaint())")
  }

  @Test(arguments: [
    ("\"version\": \"gemm\"", "\"version\": \"gemv\"", "must be gemm"),
    ("\"zero_point\": true", "\"zero_point\": false", "'quantization_config.zero_point'"),
    ("\"bits\": 4", "\"bits\": 8", "must be 4, the codes of awq"),
    ("\"model_type\": \"llama\"", "\"model_type\": \"gpt_neox\"", "codes of the architecture"),
  ])
  func `AWQ in other layouts is refused`(text: String, other: String, expected: String) throws {
    let changed = try ChangedCheckpoint(of: "llama-awq")
    try changed.replace(text, by: other)
    #expect(changed.complaint().contains(expected), "\(changed.complaint())")
  }

  private static let fc2 = "model.decoder.layers.1.fc2"

  @Test func `damaged tensors are refused by name`() throws {
    let (fc2, changed) = (Self.fc2, try ChangedCheckpoint(of: "opt-gptq"))
    for part in ["qweight", "qzeros", "scales"] {
      try changed.rewrite("\(fc2).\(part)", drop: true)
      #expect(changed.complaint().hasPrefix("tensor '\(fc2).\(part)' is implied"), "\(part)")
    }
    try changed.rewrite("\(fc2).qweight", shape: [32, 32])
    #expect(
      changed.complaint().hasPrefix(
        "tensor '\(fc2).qweight' is [32, 32] in the file but config.json implies [32, 64]"))
    try changed.rewrite("\(fc2).qzeros", shape: [4, 8])
    #expect(changed.complaint().contains("implies [8, 8]"))
    try changed.rewrite("\(fc2).scales", shape: [16, 64], type: .float16)
    #expect(changed.complaint().contains("'\(fc2).scales' is [16, 64]"))
    try changed.rewrite("\(fc2).qweight", type: .float32)
    #expect(changed.complaint().contains("'\(fc2).qweight' is stored as F32; codes come in"))
    try changed.rewrite("\(fc2).scales", type: .uint16)
    #expect(changed.complaint().contains("'\(fc2).scales' is stored as U16; scales must be"))
    try changed.rewrite("\(fc2).g_idx", shape: [255])
    #expect(changed.complaint().contains("'\(fc2).g_idx' is [255] in the file"))
  }

  @Test func `groups that act-order scattered are refused with what to do`() throws {
    let changed = try ChangedCheckpoint(of: "opt-gptq")
    try changed.rewrite("\(Self.fc2).g_idx") { bytes in bytes.swapAt(4 * 3, 4 * 40) }
    let complaint = changed.complaint()
    #expect(complaint.contains("tensor '\(Self.fc2).g_idx' puts input 3 outside group 0"))
    #expect(complaint.contains("desc_act false"))
    #expect(complaint.hasSuffix("or 'dejavu quantize' on the full-precision one"))
    // Without the list groups lie as they must.
    try changed.rewrite("\(Self.fc2).g_idx", drop: true)
    #expect(changed.complaint() == "(no error)")
  }

  @Test func `scales that are no numbers and zeros that say two things are refused`() throws {
    let (fc2, changed) = (Self.fc2, try ChangedCheckpoint(of: "opt-gptq"))
    try changed.rewrite("\(fc2).scales") { $0.replaceSubrange(2..<4, with: [0, 0x7C]) }
    #expect(changed.complaint().contains("'\(fc2).scales'"))
    #expect(changed.complaint().contains("its scale of group 0 and output 1 is inf"))
    // Group 1, output 1: eight words of eight zeros to a group.
    try changed.rewrite("\(fc2).qzeros") { $0[32] |= 0xF0 }
    #expect(changed.complaint().contains("its zero of group 1 and output 1 is stored as 15"))
    #expect(changed.complaint().contains("gptq_v2"))
  }

  @Test func `scales in bfloat16 are taken where half precision holds them`() throws {
    let (fc2, changed) = (Self.fc2, try ChangedCheckpoint(of: "opt-gptq"))
    // 2^-7, and 2^-30, which half precision does not have.
    func patterns(_ bits: UInt16) -> (inout [UInt8]) -> Void {
      { bytes in
        for at in stride(from: 0, to: bytes.count, by: 2) {
          bytes[at] = UInt8(bits & 0xFF)
          bytes[at + 1] = UInt8(bits >> 8)
        }
      }
    }
    try changed.rewrite("\(fc2).scales", type: .bfloat16, bytes: patterns(0x3C00))
    #expect(changed.complaint() == "(no error)")
    let tensor = try #require(
      try Checkpoint.open(folder: changed.folder.path).codes[.layer(1, .down)])
    #expect(HalfPrecision.float(half: tensor.scale(group: 3, output: 5)) == 0x1p-7)
    try changed.rewrite("\(fc2).scales", type: .bfloat16, bytes: patterns(0x3080))
    #expect(changed.complaint().contains("is not a finite number of half precision"))
  }

  @Test func `a bias that nothing adds must be zero`() throws {
    let changed = try ChangedCheckpoint(of: "llama-awq")
    let name = "model.layers.0.mlp.down_proj.bias"
    try changed.rewrite(add: (name, [0, 0x8000, 0]))
    #expect(changed.complaint() == "(no error)")
    #expect(try Checkpoint.open(folder: changed.folder.path).warnings == [])
    try changed.rewrite(add: (name, [0, 0x0080, 0]))
    #expect(changed.complaint().contains("tensor '\(name)'"))
  }

  @Test func `codes of a head, and numbers beside codes, are refused`() throws {
    let changed = try ChangedCheckpoint(of: "llama-awq")
    try changed.rewrite(add: ("lm_head.qweight", [0x2C00]))
    #expect(changed.complaint().contains("tensor 'lm_head.qweight' holds codes"))
    let fc1 = "model.decoder.layers.0.fc1"
    let mixed = try ChangedCheckpoint(of: "opt-gptq")
    try mixed.rewrite("\(fc1).qweight", drop: true)
    #expect(mixed.complaint().hasPrefix("tensor '\(fc1).qweight' is implied"))
  }

  @Test func `codes, scales and zeros count in the fingerprint`() throws {
    let changed = try ChangedCheckpoint(of: "opt-gptq")
    func fingerprint() throws -> String {
      try Checkpoint.open(folder: changed.folder.path).fingerprint
    }
    let original = try fingerprint()
    #expect(original == (try Checkpoint.open(folder: Published.folder("opt-gptq"))).fingerprint)
    for part in ["qweight", "qzeros", "scales"] {
      try changed.rewrite("\(Self.fc2).\(part)") { $0[5] ^= 1 }
      #expect(try fingerprint() != original, "\(part)")
    }
  }
}

extension CodedTensor {
  fileprivate func codes(outputs range: Range<Int>) -> [[UInt8]] {
    codes(range.count, inputs) { read(outputs: range, into: $0) }
  }

  fileprivate func codes(inputs range: Range<Int>) -> [[UInt8]] {
    codes(range.count, outputs) { read(inputs: range, into: $0) }
  }

  private func codes(
    _ rows: Int, _ columns: Int, _ read: (UnsafeMutablePointer<UInt8>) -> Void
  ) -> [[UInt8]] {
    var flat = [UInt8](repeating: 0xEE, count: rows * columns)
    flat.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { read(base) } }
    return (0..<rows).map { Array(flat[$0 * columns..<($0 + 1) * columns]) }
  }

  /// (code − zero) · scale of every input.
  fileprivate func weights(of output: Int) -> [Float] {
    codes(outputs: output..<output + 1)[0].enumerated().map { input, code in
      let scale = HalfPrecision.float(half: scale(group: input / group, output: output))
      return Float(Int(code) - zero(group: input / group, output: output)) * scale
    }
  }
}

extension TensorEntry {
  fileprivate var integers: [Int] {
    withBytes { bytes in
      (0..<bytes.count / 8).map {
        Int(bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self))
      }
    }
  }
}
