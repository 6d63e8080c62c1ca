import CDejaVuCUDA
package import DejaVuCore

/// The kernels that the backend launches, with the threads of a block.
enum Kernel: Int, CaseIterable {
  case embedRows, normalizeRows, addParts, projectRows, clearWords, assignList, readMemory, fillRows
  case fillCodes
  case projectHeads, attendCache, mergeContext, clipSettled, forkPlanes
  case sumHeads, raiseNeurons, sumNeurons, sizeNeurons, sizeGroups
  case prepareVectors, renewStream, scoreRows, selectRows
  case findLikeliest, weighTokens, chooseToken
  case multiplyRows, multiplyColumns, storeKeys, turnQueries, attendPrompt, maskRows, activateRows
  case narrowRows, decodeRows, lookOver, addRows
  case countCodes, differentiateLogits, sumTokens, transposeRows, stepWeights

  /// Whether the kernel waits for its inputs itself, so that it may start before they are there.
  var awaits: Bool {
    switch self {
    case .readMemory, .fillRows, .fillCodes, .clipSettled, .forkPlanes, .multiplyRows,
      .multiplyColumns,
      .storeKeys, .turnQueries, .attendPrompt, .maskRows, .activateRows, .narrowRows, .decodeRows,
      .lookOver, .addRows, .countCodes, .differentiateLogits, .sumTokens, .transposeRows,
      .stepWeights:
      false
    default: true
    }
  }

  /// Name in the source, threads of a block, and whether there is one for each type of weights.
  var shape: (name: String, threads: Int, isTyped: Bool) {
    switch self {
    case .embedRows: ("embed_rows", 256, true)
    case .normalizeRows: ("normalize_rows", 256, false)
    case .addParts: ("add_parts", 512, false)
    case .projectRows: ("project_rows", 512, true)
    case .clearWords: ("clear_words", 256, false)
    case .assignList: ("assign_list", 256, false)
    case .readMemory: ("read_memory", 512, false)
    case .fillRows: ("fill_rows", 256, true)
    case .fillCodes: ("fill_codes", 256, false)
    case .projectHeads: ("project_heads", 256, true)
    case .attendCache: ("attend_cache", 128, false)
    case .mergeContext: ("merge_context", 256, false)
    case .clipSettled: ("clip_settled", 256, false)
    case .forkPlanes: ("fork_planes", 256, false)
    case .sumHeads: ("sum_heads", 256, true)
    case .raiseNeurons: ("raise_neurons", 512, true)
    case .sumNeurons: ("sum_neurons", 256, true)
    case .sizeNeurons: ("size_neurons", 256, true)
    case .sizeGroups: ("size_groups", 256, true)
    case .prepareVectors: ("prepare_vectors", 1024, false)
    case .renewStream: ("renew_stream", 512, false)
    case .scoreRows: ("score_rows", 320, false)
    case .selectRows: ("select_rows", 1024, false)
    case .findLikeliest: ("find_likeliest", 256, false)
    case .weighTokens: ("weigh_tokens", 256, false)
    case .chooseToken: ("choose_token", 1024, false)
    case .multiplyRows: ("multiply_rows", 256, true)
    case .multiplyColumns: ("multiply_columns", 256, true)
    case .storeKeys: ("store_keys", 256, false)
    case .turnQueries: ("turn_queries", 256, false)
    case .attendPrompt: ("attend_prompt", 256, false)
    case .maskRows: ("mask_rows", 256, false)
    case .activateRows: ("activate_rows", 256, false)
    case .narrowRows: ("narrow_rows", 256, true)
    case .decodeRows: ("decode_rows", 256, true)
    case .lookOver: ("look_over", 256, false)
    case .addRows: ("add_rows", 256, false)
    case .countCodes: ("count_codes", 256, false)
    case .differentiateLogits: ("differentiate_logits", 256, false)
    case .sumTokens: ("sum_tokens", 256, false)
    case .transposeRows: ("transpose_rows", 256, false)
    case .stepWeights: ("step_weights", 256, false)
    }
  }
}

/// What a kernel's weights are stored in, as its name ends.
enum KernelType: String, CaseIterable {
  case float32 = "_f32"
  case float16 = "_f16"
  case bfloat16 = "_bf16"
  /// Codes of 4 and of 8 bits; their groups are fixed when kernels are compiled.
  case codes4 = "_i4"
  case codes8 = "_i8"

  var isCoded: Bool { self == .codes4 || self == .codes8 }
  var index: Int {
    switch self {
    case .float32: 0
    case .float16: 1
    case .bfloat16: 2
    case .codes4: 3
    case .codes8: 4
    }
  }

  init(_ dtype: DType) {
    switch dtype {
    case .float32: self = .float32
    case .float16: self = .float16
    case .bfloat16: self = .bfloat16
    }
  }
}

extension Kernel {
  /// Threads of a block, where inputs of heads are kept in `cache`: kernels of codes keep more in
  /// registers, and tensor cores take more warps.
  func threads(_ type: KernelType, cache: DType = .float32) -> Int {
    switch self {
    case .projectHeads where HeadTiles.apply(to: type, cache: cache): 32 * HeadTiles.warps(type)
    case .attendPrompt where cache != .float32: 128
    case .raiseNeurons where type.isCoded, .projectRows where type.isCoded: Int(dv_row_threads)
    case .sumHeads where type.isCoded, .sumNeurons where type.isCoded: Int(dv_sum_threads)
    default: shape.threads
    }
  }

  /// Whether only modules with codes have the kernel.
  func needsCodes(_ type: KernelType) -> Bool {
    self == .fillCodes || (shape.isTyped && type.isCoded)
  }

  /// Whether there is one for this type at all: random codes have a kernel of their own, and only some
  /// types are rounded to or decoded.
  func exists(_ type: KernelType) -> Bool {
    switch self {
    case .fillRows: !type.isCoded
    case .narrowRows: type == .float16 || type == .bfloat16
    case .decodeRows: type.isCoded
    default: true
    }
  }
}

/// A card's machine code, with every kernel looked up once.
package final class KernelModule {
  private let device: CUDADevice
  private let module: dejavu_handle
  /// By kernel and type of weights.
  private let functions: [dejavu_handle?]
  /// Bytes of shared memory that each may ask for.
  private var allowed: [Int]
  /// Of a multiprocessor's shared memory, what all kernels that overlap are set to, in per cent of
  /// its greatest: two blocks, and no change between one kernel and the next.
  private static let carveout: Int32 = 57
  /// The same in bytes, less than every card has that overlaps launches.
  static let sharedBytes = 130 << 10

  /// - Throws: ``BackendError/unavailable(backend:reason:)`` where the card does not take the code.
  package init(
    _ device: CUDADevice, image: UnsafeRawPointer, hasCodes: Bool
  ) throws(BackendError) {
    var module: dejavu_handle?
    guard device.driver.load_module?(&module, image) == 0, let module else {
      throw CUDADevice.unavailable("\(device.name) does not take the compiled kernels")
    }
    var functions: [dejavu_handle?] = []
    for kernel in Kernel.allCases {
      for type in KernelType.allCases {
        guard kernel.exists(type), hasCodes || !kernel.needsCodes(type) else {
          functions.append(nil)
          continue
        }
        let name = kernel.shape.name + (kernel.shape.isTyped ? type.rawValue : "")
        var function: dejavu_handle?
        guard device.driver.find_function?(&function, module, name) == 0, let function else {
          _ = device.driver.unload_module?(module)
          throw CUDADevice.unavailable("the compiled kernels lack '\(name)'")
        }
        if device.overlapsLaunches, kernel.awaits {
          device.check(
            device.driver.set_function?(function, Int32(dejavu_shared_carveout), Self.carveout),
            "\(name) takes no share of shared memory")
        }
        functions.append(function)
      }
    }
    self.device = device
    self.module = module
    self.functions = functions
    // Less than every card grants, since kernels have some of their own.
    allowed = [Int](repeating: 40 << 10, count: functions.count)
  }

  deinit { _ = device.driver.unload_module?(module) }

  func function(_ kernel: Kernel, _ type: KernelType) -> dejavu_handle {
    guard let function = functions[index(kernel, type)] else {
      preconditionFailure("\(kernel) was not compiled for weights in \(type)")
    }
    return function
  }

  private func index(_ kernel: Kernel, _ type: KernelType) -> Int {
    kernel.rawValue * KernelType.allCases.count + type.index
  }

  /// Lets a kernel ask for more shared memory than every card grants unasked.
  func allow(_ kernel: Kernel, _ type: KernelType, sharedBytes: Int) {
    guard sharedBytes > allowed[index(kernel, type)] else { return }
    allowed[index(kernel, type)] = sharedBytes
    device.check(
      device.driver.set_function?(
        function(kernel, type), Int32(dejavu_greatest_dynamic_shared), Int32(sharedBytes)),
      "\(kernel.shape.name) needs \(sharedBytes) bytes of shared memory")
  }
}
