// swift-tools-version: 6.3
import PackageDescription

/// Settings that every Swift target of this package compiles with.
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
]

/// As `strict`, in the rooms where no pointer has any business.
let strictAndSafe: [SwiftSetting] = strict + [.strictMemorySafety()]

let argumentParser = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")

let package = Package(
  name: "DejaVu",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "DejaVu", targets: ["DejaVu"]),
    .executable(name: "dejavu", targets: ["DejaVuCLI"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
  ],
  targets: [
    .target(name: "CDejaVuKernels", cSettings: [.define("NDEBUG"), .treatAllWarnings(as: .error)]),
    .target(
      name: "CDejaVuBLAS", cSettings: [.treatAllWarnings(as: .error)],
      linkerSettings: [.linkedLibrary("dl", .when(platforms: [.linux]))]),
    .target(
      name: "CDejaVuCUDA", exclude: ["kernels"], cSettings: [.treatAllWarnings(as: .error)],
      linkerSettings: [.linkedLibrary("dl", .when(platforms: [.linux]))]),
    .target(name: "DejaVuJSON", swiftSettings: strictAndSafe),
    .target(name: "DejaVuCore", swiftSettings: strict),
    .target(name: "DejaVuTokenizers", dependencies: ["DejaVuJSON"], swiftSettings: strictAndSafe),
    .target(
      name: "DejaVuFormats", dependencies: ["DejaVuCore", "DejaVuJSON"], swiftSettings: strict),
    .target(name: "DejaVuReference", dependencies: ["DejaVuCore"], swiftSettings: strict),
    .target(
      name: "DejaVuCPU", dependencies: ["DejaVuCore", "CDejaVuKernels"], swiftSettings: strict),
    .target(
      name: "DejaVuCUDA", dependencies: ["DejaVuCore", "DejaVuFormats", "CDejaVuCUDA"],
      swiftSettings: strict),
    .target(
      name: "DejaVuModels", dependencies: ["DejaVuCore", "DejaVuFormats", "DejaVuJSON"],
      swiftSettings: strict),
    .target(
      name: "DejaVu",
      dependencies: [
        "DejaVuCore", "DejaVuTokenizers", "DejaVuFormats", "DejaVuReference", "DejaVuCPU",
        "DejaVuCUDA", "DejaVuModels", logging,
      ],
      swiftSettings: strict),
    .target(
      name: "DejaVuEvaluation",
      dependencies: [
        "DejaVu", "DejaVuModels", "DejaVuTokenizers", "DejaVuFormats", "DejaVuCore", "DejaVuCPU",
        "DejaVuCUDA", "DejaVuJSON", "CDejaVuBLAS",
      ],
      swiftSettings: strict),
    .target(
      name: "DejaVuTraining",
      dependencies: [
        "DejaVu", "DejaVuEvaluation", "DejaVuModels", "DejaVuTokenizers", "DejaVuFormats",
        "DejaVuCore", "DejaVuCPU", "DejaVuCUDA", "DejaVuJSON",
      ],
      swiftSettings: strict),
    .target(
      name: "DejaVuQuantization",
      dependencies: [
        "DejaVu", "DejaVuEvaluation", "DejaVuModels", "DejaVuFormats", "DejaVuCore", "DejaVuCPU",
      ],
      swiftSettings: strict),
    .executableTarget(
      name: "DejaVuCLI",
      dependencies: [
        "DejaVu", "DejaVuEvaluation", "DejaVuTraining", "DejaVuQuantization", "DejaVuModels",
        "DejaVuFormats", "DejaVuTokenizers", "DejaVuCore", "DejaVuCPU", "DejaVuCUDA",
        "DejaVuJSON", argumentParser,
      ],
      swiftSettings: strict),
    .target(
      name: "DejaVuTestSupport",
      dependencies: [
        "DejaVu", "DejaVuCore", "DejaVuReference", "DejaVuCPU", "DejaVuModels", "DejaVuFormats",
      ],
      path: "Tests/DejaVuTestSupport", swiftSettings: strict),
    .testTarget(
      name: "DejaVuJSONTests", dependencies: ["DejaVuJSON"], swiftSettings: strict),
    .testTarget(
      name: "DejaVuTokenizersTests", dependencies: ["DejaVuTokenizers", "DejaVuJSON"],
      resources: [.copy("Fixtures")], swiftSettings: strict),
    .testTarget(
      name: "DejaVuFormatsTests", dependencies: ["DejaVuFormats", "DejaVuCore", "DejaVuJSON"],
      resources: [.copy("Fixtures")], swiftSettings: strict),
    .testTarget(
      name: "DejaVuBackendTests",
      dependencies: [
        "DejaVuTestSupport", "DejaVuCore", "DejaVuReference", "DejaVuCPU", "DejaVuModels",
        "CDejaVuKernels",
      ],
      swiftSettings: strict),
    .target(
      name: "CDejaVuEmulation", dependencies: ["CDejaVuCUDA"], path: "Tests/CDejaVuEmulation"),
    .testTarget(
      name: "DejaVuCUDATests",
      dependencies: [
        "DejaVuTestSupport", "DejaVu", "DejaVuCUDA", "DejaVuCore", "DejaVuCPU", "DejaVuFormats",
        "DejaVuReference", "DejaVuModels", "DejaVuTraining", "CDejaVuEmulation", "CDejaVuCUDA",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "DejaVuModelsTests",
      dependencies: [
        "DejaVuTestSupport", "DejaVu", "DejaVuCore", "DejaVuCPU", "DejaVuCUDA", "DejaVuModels",
        "DejaVuFormats", "DejaVuTokenizers", "DejaVuEvaluation", "DejaVuJSON",
      ],
      resources: [.copy("Fixtures")], swiftSettings: strict),
    .testTarget(
      name: "DejaVuEvaluationTests",
      dependencies: [
        "DejaVu", "DejaVuCore", "DejaVuCPU", "DejaVuEvaluation", "DejaVuFormats", "DejaVuModels",
      ],
      exclude: ["Snapshots"], swiftSettings: strict),
    .testTarget(
      name: "DejaVuTrainingTests",
      dependencies: [
        "DejaVuTestSupport", "DejaVu", "DejaVuTraining", "DejaVuEvaluation", "DejaVuModels",
        "DejaVuTokenizers", "DejaVuFormats", "DejaVuCore", "DejaVuCPU",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "DejaVuQuantizationTests",
      dependencies: [
        "DejaVuTestSupport", "DejaVuQuantization", "DejaVu", "DejaVuModels", "DejaVuFormats",
        "DejaVuCore", "DejaVuCPU",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "DejaVuCLITests", dependencies: ["DejaVu", "DejaVuTestSupport"],
      resources: [.copy("Snapshots")], swiftSettings: strict),
  ],
  cxxLanguageStandard: .cxx17
)
