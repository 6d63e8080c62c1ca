import DejaVuCUDA
import DejaVuCore
import Foundation
import Testing

/// Compiles the kernels with NVIDIA's own compiler, which needs no card.
struct KernelTests {
  /// `Scripts/nvrtc` prints what to set.
  static let library = ProcessInfo.processInfo.environment["DEJAVU_NVRTC"].flatMap {
    $0.isEmpty ? nil : $0
  }

  @Test(
    .enabled(if: library != nil, "DEJAVU_NVRTC names no compiler; Scripts/nvrtc installs one"),
    arguments: [
      KernelOptions(capability: 80, cacheType: .float16, paddedHead: 128),
      KernelOptions(capability: 89, cacheType: .bfloat16, paddedHead: 64),
      KernelOptions(capability: 90, cacheType: .float16, paddedHead: 128),
      KernelOptions(capability: 90, cacheType: .float32, paddedHead: 160),
      KernelOptions(capability: 90, cacheType: .bfloat16, paddedHead: 256),
      KernelOptions(
        capability: 80, cacheType: .float16, paddedHead: 128,
        groups: CodeGroups(size: 128, haveZeros: false)),
      KernelOptions(
        capability: 89, cacheType: .float16, paddedHead: 64,
        groups: CodeGroups(size: 32, haveZeros: true)),
      KernelOptions(
        capability: 90, cacheType: .float16, paddedHead: 128,
        groups: CodeGroups(size: 64, haveZeros: false)),
    ])
  func `every kernel compiles and keeps its numbers in registers`(options: KernelOptions) throws {
    let compiled = try KernelCompiler(library: Self.library).compile(options)
    #expect(compiled.cubin.starts(with: [0x7F, 0x45, 0x4C, 0x46]), "machine code is an ELF file")
    let names = Set(compiled.reports.map(\.name))
    for name in [
      "attend_cache", "attend_prompt", "narrow_rows_f16", "narrow_rows_bf16", "select_rows",
      "score_rows", "add_parts", "renew_stream",
    ] {
      #expect(names.contains(name))
    }
    for name in ["project_heads", "sum_heads", "raise_neurons", "sum_neurons", "project_rows"] {
      for type in ["f32", "f16", "bf16"] { #expect(names.contains("\(name)_\(type)")) }
    }
    if options.groups != nil {
      let coded = ["project_heads", "sum_heads", "raise_neurons", "sum_neurons", "project_rows"]
      for name in coded + ["decode_rows"] {
        for type in ["i4", "i8"] { #expect(names.contains("\(name)_\(type)")) }
      }
    }
    for report in compiled.reports {
      #expect(report.registers > 0, "\(report.name)")
      // Kernels of 4-bit codes fill every register and keep a few numbers beside them.
      let spare = report.name.hasSuffix("_i4") ? 96 : 0
      #expect(report.spilledBytes <= spare, "\(report.name) spills")
      #expect(report.stackBytes <= spare, "\(report.name) keeps an array in memory")
    }
  }

  @Test func `a missing compiler is named`() {
    #expect(throws: BackendError.self) { try KernelCompiler(library: "/no/such/libnvrtc.so") }
  }

  @Test func `a compiler's report is read line by line`() {
    let log = """
      ptxas info    : Compiling entry function 'first' for 'sm_90'
      ptxas info    : Function properties for first
          24 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
      ptxas info    : Used 64 registers, used 1 barriers
      """
    let reports = KernelReport.read(log)
    #expect(reports.map(\.name) == ["first"])
    #expect(reports.map(\.registers) == [64])
    #expect(reports.map(\.stackBytes) == [24])
    #expect(reports.map(\.spilledBytes) == [8])
  }
}
