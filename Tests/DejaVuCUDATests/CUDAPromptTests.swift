import CDejaVuCUDA
import CDejaVuEmulation
import DejaVuCUDA
import DejaVuCore
import DejaVuModels
import DejaVuReference
import DejaVuTestSupport
import Testing

/// Prompts whose products a library multiplies; an emulated card has one that does as it is told.
struct CUDAPromptTests {
  @Test(arguments: TinyModel.allCases)
  func `the library's products agree with the reference`(tiny: TinyModel) throws {
    let index = TinyModel.allCases.firstIndex(of: tiny) ?? 0
    let types = TestCard.isReal ? DType.allCases : [DType.allCases[(index + 1) % 3]]
    for dtype in types {
      let model = tiny.model(dtype: dtype)
      let cacheType: DType = dtype == .float32 ? .float32 : .float16
      let answers = ReferenceAnswers(model: model, cacheType: cacheType)
      let backend = try TestCard.backend(model, multiplies: true)
      let tolerance: Tolerance =
        switch dtype {
        case .float32: .logits(cache: .float32)
        case .float16: Tolerance(5e-3, because: "what meets weights is rounded to halves")
        case .bfloat16: .brainLogits
        }
      try checkBackend(Candidate(backend), against: answers, within: tolerance)
    }
  }

  @Test(arguments: [
    ("int4-g64", TinyModel.opt), ("int8-g64", .llamaReLU), ("int4-g32-zeros", .neoX),
  ])
  func `codes are decoded block by block`(format: String, tiny: TinyModel) throws {
    let format = try #require(GroupwiseFormat(name: format))
    let model = GroupwiseModel.pair(of: tiny.architecture, format: format).groupwise
    let answers = ReferenceAnswers(model: model, cacheType: .float16)
    var options = CUDAOptions(cacheType: .float16, batchCapacity: 64)
    // Seven rows of 128 columns: the last block of most matrices is a smaller one.
    options.decodedBytes = 7 * 256
    let backend = try TestCard.backend(model, options, multiplies: true)
    let tolerance = Tolerance(5e-3, because: "weights and what meets them are rounded to halves")
    try checkBackend(Candidate(backend), against: answers, within: tolerance)
  }

  @Test(
    .enabled(if: !TestCard.isReal, "a real card has the library that is installed"),
    arguments: [DType.float16, .bfloat16])
  func `a prompt by the library is the prompt by own kernels`(dtype: DType) throws {
    let model = TinyModel.llamaGrouped.model(dtype: dtype)
    let tokens = (0..<40).map { TokenID($0 * 29 % 301) }
    func logits(multiplies: Bool) throws -> [[Float]] {
      let trial = Trial(Candidate(try TestCard.backend(model, multiplies: multiplies)))
      return try trial.run(tokens, steps: [23, 17], cache: trial.makeCache(), plan: .all)
    }
    let (own, library) = (try logits(multiplies: false), try logits(multiplies: true))
    #expect(own != library, "the library is used, and rounds what it reads")
    let bound = dtype == .float16 ? 2e-3 : 3e-2
    try expectClose(
      library, own, within: Tolerance(bound, because: "inputs are rounded"), "\(dtype)")
  }

  @Test(.enabled(if: !TestCard.isReal, "a real library refuses nothing"))
  func `a product that the library refuses is an error that says what to do`() throws {
    var functions = dejavu_blaslt()
    let backend = try TestCard.backend(
      TinyModel.opt.model(dtype: .float16),
      products: {
        dejavu_emulated_products(&functions)
        functions.propose = { _, _, _, _, _, _, _, _, _, _ in 15 }
        return ProductLibrary(functions: functions, path: "refusing")
      }())
    let trial = Trial(Candidate(backend))
    do {
      _ = try trial.step([1, 2, 3], cache: trial.makeCache(), plan: .all)
      Issue.record("nothing was refused")
    } catch {
      #expect("\(error)".contains("DEJAVU_CUBLASLT=off"), "\(error)")
    }
  }

  @Test func `the library is looked for where it is named, or beside the compiler`() {
    #expect(ProductLibrary.places(["DEJAVU_CUBLASLT": "/x/lt.so"]) == ["/x/lt.so"])
    #expect(ProductLibrary.places(["DEJAVU_CUBLASLT": "off"]).isEmpty)
    let places = ProductLibrary.places(["DEJAVU_NVRTC": "/wheels/cuda_nvrtc/lib/libnvrtc.so.12"])
    #expect(places.first == "libcublasLt.so.13")
    #expect(places.contains("/wheels/cuda_nvrtc/lib/../../cublas/lib/libcublasLt.so.12"))
    #expect(ProductLibrary.find(environment: ["DEJAVU_CUBLASLT": "/no/such/file"]) == nil)
    let described = ["", "off", "/no/such/file"].map {
      ProductLibrary.describe(nil, environment: ["DEJAVU_CUBLASLT": $0])
    }
    #expect(described[0].contains("was not found"))
    #expect(described[1].contains("=off") && !described[1].contains("found"))
    #expect(described[2].contains("'/no/such/file'"))
  }
}
