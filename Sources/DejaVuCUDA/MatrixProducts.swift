import CDejaVuCUDA
import DejaVuCore

/// One product's shape: out[t, n] (+)= σ(Σ_k x[t, k] · w[n, k] + bias[n]), or · w[k, n].
///
/// Strides count elements; alignments are the greatest powers of two up to 256 that divide addresses.
struct ProductShape: Hashable {
  /// Whether the sum runs over the weights' rows: w[k, n].
  var sumsRows: Bool
  /// Whether it runs over the inputs' rows: x[k, t].
  var sumsInputRows: Bool
  var tokens: Int
  var outputs: Int
  var terms: Int
  var weightStride: Int
  var inputStride: Int
  var outputStride: Int
  /// Of weights and inputs.
  var type: DType
  /// Of outputs and bias.
  var outputType: DType
  var computeType: ComputeType
  var hasBias: Bool
  var epilogue: Epilogue
  /// Of weights, inputs and outputs, bytes.
  var alignments: [Int]

  /// How the library multiplies; sums are float32 always.
  ///
  /// `float32` takes factors as they are, `tf32` lets tensor cores read 10 bits of the mantissa of
  /// float32 factors.
  enum ComputeType { case float32, tf32 }

  /// What the library does to a sum before it is stored.
  enum Epilogue { case plain, relu, geluTanh }

  static func alignment(of address: dv_address) -> Int { 1 << min(8, address.trailingZeroBitCount) }

  /// Floating-point operations.
  var operations: Int { 2 * tokens * outputs * terms }

  fileprivate var computeCode: Int32 {
    switch computeType {
    case .float32: Int32(dejavu_blaslt_sums_float32)
    case .tf32: Int32(dejavu_blaslt_sums_tf32)
    }
  }

  fileprivate var epilogueCode: UInt32 {
    let activation =
      switch epilogue {
      case .plain: 0
      case .relu: dejavu_blaslt_relu
      case .geluTanh: dejavu_blaslt_gelu_tanh
      }
    let all = activation | (hasBias ? dejavu_blaslt_bias : 0)
    return UInt32(all == 0 ? dejavu_blaslt_plain : all)
  }
}

/// Where one product's factors and results lie.
struct ProductCall {
  var weights: dv_address
  var inputs: dv_address
  var bias: dv_address
  var outputs: dv_address
  /// 1 adds to what is there, 0 does not.
  var keeps: Float
}

extension DType {
  fileprivate var productCode: Int32 {
    switch self {
    case .float32: Int32(dejavu_blaslt_float32)
    case .float16: Int32(dejavu_blaslt_float16)
    case .bfloat16: Int32(dejavu_blaslt_bfloat16)
    }
  }
}

/// cuBLASLt on one card: a plan for each shape, made when the shape first comes.
final class MatrixProducts {
  let library: ProductLibrary
  private let device: CUDADevice
  private let handle: dejavu_blaslt_handle
  private let workspace: DeviceMemory
  private var plans: [ProductShape: ProductPlan] = [:]

  /// What products may take of the card beside their results: as much as NVIDIA advises for Hopper.
  static let workspaceBytes = 32 << 20

  /// - Throws: ``BackendError`` where the library or its working space cannot be had.
  init(_ library: ProductLibrary, on device: CUDADevice) throws(BackendError) {
    device.enter()
    workspace = try DeviceMemory(
      device, byteCount: Self.workspaceBytes, what: "working space of cuBLASLt")
    var handle: dejavu_blaslt_handle?
    let status = library.functions.make?(&handle) ?? -1
    guard status == 0, let handle else {
      throw CUDADevice.unavailable(
        "cuBLASLt cannot be started (\(status)); \(ProductLibrary.variable)=off does without it")
    }
    (self.library, self.device, self.handle) = (library, device, handle)
  }

  deinit { _ = library.functions.release?(handle) }

  /// How a shape is multiplied.
  ///
  /// - Parameters:
  ///   - shape: what is multiplied.
  ///   - bias: its address, of which the library looks at the alignment; 0 where there is none.
  /// - Returns: the plan, which lives as long as this does.
  /// - Throws: ``BackendError/unavailable(backend:reason:)`` where the library has no product of the shape.
  func plan(_ shape: ProductShape, bias: dv_address) throws(BackendError) -> ProductPlan {
    if let plan = plans[shape] { return plan }
    device.enter()
    guard
      let plan = ProductPlan(
        shape, bias: bias, functions: library.functions, handle: handle, workspace: workspace)
    else {
      throw CUDADevice.unavailable(
        "cuBLASLt has no product of \(shape); \(ProductLibrary.variable)=off does without it")
    }
    plans[shape] = plan
    return plan
  }
}

/// How one shape is multiplied.
final class ProductPlan {
  private let functions: dejavu_blaslt
  private let handle: dejavu_blaslt_handle
  private let workspace: DeviceMemory
  private let product: dejavu_blaslt_handle
  /// Of weights, inputs and outputs.
  private let layouts: [dejavu_blaslt_handle]
  private var proposal = dejavu_blaslt_proposal()
  private let hasBias: Bool

  /// Nil where the library refuses the shape.
  ///
  /// The library counts columns first: its first factor is the weights, its second the inputs, and what
  /// it stores is `[outputs]` for every token.
  fileprivate init?(
    _ shape: ProductShape, bias: dv_address, functions: dejavu_blaslt,
    handle: dejavu_blaslt_handle, workspace: DeviceMemory
  ) {
    guard let product = Self.describe(shape, bias: bias, functions) else { return nil }
    let weights = shape.sumsRows ? (shape.outputs, shape.terms) : (shape.terms, shape.outputs)
    let inputs = shape.sumsInputRows ? (shape.tokens, shape.terms) : (shape.terms, shape.tokens)
    let sizes = [
      (weights.0, weights.1, shape.weightStride, shape.type),
      (inputs.0, inputs.1, shape.inputStride, shape.type),
      (shape.outputs, shape.tokens, shape.outputStride, shape.outputType),
    ]
    let layouts = sizes.compactMap { rows, columns, stride, type -> dejavu_blaslt_handle? in
      var layout: dejavu_blaslt_handle?
      _ = functions.make_layout?(
        &layout, type.productCode, UInt64(rows), UInt64(columns), Int64(stride))
      return layout
    }
    self.functions = functions
    self.handle = handle
    self.workspace = workspace
    self.product = product
    self.layouts = layouts
    hasBias = shape.hasBias
    guard layouts.count == 3, propose(shape) else { return nil }
  }

  deinit {
    _ = functions.release_product?(product)
    for layout in layouts { _ = functions.release_layout?(layout) }
  }

  private static func describe(
    _ shape: ProductShape, bias: dv_address, _ functions: dejavu_blaslt
  ) -> dejavu_blaslt_handle? {
    var product: dejavu_blaslt_handle?
    let float = Int32(dejavu_blaslt_float32)
    guard functions.make_product?(&product, shape.computeCode, float) == 0, let product else {
      return nil
    }
    func set<Value: BitwiseCopyable>(_ attribute: Int, _ value: Value) -> Bool {
      withUnsafeBytes(of: value) { bytes in
        bytes.baseAddress.map {
          functions.set_product?(product, Int32(attribute), $0, bytes.count) == 0
        } ?? false
      }
    }
    let first = shape.sumsRows ? dejavu_blaslt_as_is : dejavu_blaslt_transposed
    let second = shape.sumsInputRows ? dejavu_blaslt_transposed : dejavu_blaslt_as_is
    var good = set(Int(dejavu_blaslt_first_operation), Int32(first))
    good = set(Int(dejavu_blaslt_second_operation), Int32(second)) && good
    good = set(Int(dejavu_blaslt_epilogue), shape.epilogueCode) && good
    if shape.hasBias {
      good = set(Int(dejavu_blaslt_bias_pointer), bias) && good
      good = set(Int(dejavu_blaslt_bias_type), shape.outputType.productCode) && good
    }
    if good { return product }
    _ = functions.release_product?(product)
    return nil
  }

  /// Asks for the library's first choice within the working space.
  private func propose(_ shape: ProductShape) -> Bool {
    var preference: dejavu_blaslt_handle?
    guard functions.make_preference?(&preference) == 0, let preference else { return false }
    defer { _ = functions.release_preference?(preference) }
    var bytes = UInt64(workspace.byteCount)
    _ = functions.set_preference?(preference, Int32(dejavu_blaslt_workspace_bytes), &bytes, 8)
    let alignments = shape.alignments + [shape.alignments[2]]
    for (index, alignment) in alignments.enumerated() {
      var value = UInt32(alignment)
      _ = functions.set_preference?(
        preference, Int32(dejavu_blaslt_alignment) + Int32(index), &value, 4)
    }
    var count: Int32 = 0
    let status = functions.propose?(
      handle, product, layouts[0], layouts[1], layouts[2], layouts[2], preference, 1, &proposal,
      &count)
    return status == 0 && count > 0 && proposal.status == 0
  }

  /// Puts the product into a stream; returns what the library answers, 0 where it took it.
  func run(_ call: ProductCall, stream: dejavu_handle) -> Int32 {
    if hasBias {
      var bias = call.bias
      _ = functions.set_product?(product, Int32(dejavu_blaslt_bias_pointer), &bias, 8)
    }
    var (one, keeps) = (Float(1), call.keeps)
    return withUnsafePointer(to: &proposal.algorithm) { algorithm in
      functions.multiply?(
        handle, product, &one, call.weights, layouts[0], call.inputs, layouts[1], &keeps,
        call.outputs, layouts[2], call.outputs, layouts[2],
        UnsafeRawPointer(algorithm).assumingMemoryBound(to: UInt64.self), workspace.address,
        workspace.byteCount, stream) ?? -1
    }
  }
}
