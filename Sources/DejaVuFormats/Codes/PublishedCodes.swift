import DejaVuJSON

/// How linear layers of a checkpoint are stored as codes, by `quantization_config` in its
/// configuration: in the layouts of GPTQ (AutoGPTQ, GPTQModel) and AWQ (AutoAWQ's GEMM).
///
/// A weight is (code − zero) · scale, where a scale and a zero belong to one output and to a group of
/// neighbouring inputs.
public struct PublishedCodes: Hashable, Sendable {
  /// Whose layout the tensors have.
  public enum Method: String, CaseIterable, Hashable, Sendable {
    /// `qweight` `[inputs · bits / 32, outputs]`, packed along inputs.
    case gptq
    /// `qweight` `[inputs, outputs / 8]`, packed along outputs in the order 0 2 4 6 1 3 5 7.
    case awq
  }

  /// Whose layout the tensors have.
  public let method: Method
  /// 4, or with GPTQ 8.
  public let bits: Int
  /// Inputs that share a scale: 32, 64 or a multiple of 128; nil where all inputs of an output do.
  public let group: Int?
  /// Whether stored zeros are one less than those they stand for: GPTQ's first format.
  public let storesZerosLessOne: Bool
  /// Whether every zero is said to be 2^(bits − 1).
  public let isSymmetric: Bool

  /// Codes in a word of 32 bits.
  var perWord: Int { 32 / bits }
}

extension ConfigReader {
  /// Reads `quantization_config`, or a file in its place, which this reader holds.
  ///
  /// - Parameter standard: the method where none is named.
  /// - Returns: a method and a layout that are read.
  /// - Throws: ``CheckpointError/invalidField(file:field:found:expected:)`` or
  ///   ``CheckpointError/unsupported(file:reason:)`` for methods and layouts that are not read.
  func publishedCodes(
    by standard: PublishedCodes.Method? = nil
  ) throws(CheckpointError) -> PublishedCodes {
    let name = try text("quant_method", default: standard?.rawValue ?? "unknown")
    guard let method = PublishedCodes.Method(rawValue: name) else {
      let known = PublishedCodes.Method.allCases.map(\.rawValue).joined(separator: " and ")
      throw .unsupported(
        file: file,
        reason: "its weights are quantized by '\(name)' and this version reads \(known); "
          + "use the full-precision copy")
    }
    try checkLayout(method)
    let (format, isSymmetric) = (try checkpointFormat(), try boolean("sym", default: true))
    return PublishedCodes(
      method: method, bits: try bits(method), group: try group(),
      storesZerosLessOne: method == .gptq && format == "gptq",
      isSymmetric: method == .gptq && isSymmetric)
  }

  private func bits(_ method: PublishedCodes.Method) throws(CheckpointError) -> Int {
    let known = method == .gptq ? [4, 8] : [4]
    let bits = try integer("bits", "w_bit", in: 1...32)
    guard known.contains(bits) else {
      let words = known.map(String.init).joined(separator: " or ")
      throw invalid(
        "bits", json["bits"] ?? json["w_bit"],
        "\(words), the codes of \(method.rawValue) that this version reads; use another copy, or "
          + "'dejavu quantize' on the full-precision one")
    }
    return bits
  }

  private func group() throws(CheckpointError) -> Int? {
    let group = try integer("group_size", "q_group_size", in: -1...1 << 20)
    guard group != -1 else { return nil }
    guard group == 32 || group == 64 || (group > 0 && group % 128 == 0) else {
      throw invalid(
        "group_size", json["group_size"] ?? json["q_group_size"],
        "-1, 32, 64 or a multiple of 128, the groups that there are kernels for")
    }
    return group
  }

  private func checkpointFormat() throws(CheckpointError) -> String {
    let format = try nonNullText("checkpoint_format") ?? "gptq"
    guard ["gptq", "gptq_v2"].contains(format) else {
      throw invalid("checkpoint_format", json["checkpoint_format"], "gptq or gptq_v2")
    }
    return format
  }

  /// Refuses other arrangements of the same codes.
  private func checkLayout(_ method: PublishedCodes.Method) throws(CheckpointError) {
    if method == .gptq {
      _ = try checkpointFormat()
      try require("is_marlin_format", false)
      return
    }
    let version = try nonNullText("version") ?? "gemm"
    guard version.lowercased() == "gemm" else {
      throw invalid("version", json["version"], "gemm, the layout of AWQ that this version reads")
    }
    try require("zero_point", true)
  }

  /// A text, nil where it is absent or null.
  private func nonNullText(_ field: String) throws(CheckpointError) -> String? {
    guard let (_, value) = nonNull([field]) else { return nil }
    guard let text = value.text else { throw invalid(field, value, "a string") }
    return text
  }
}
