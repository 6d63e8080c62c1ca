import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuFormats
import DejaVuTokenizers

/// `dejavu pack`: a checkpoint → the engine's own layout.
struct Pack: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write a model in the engine's layout, so that it loads at once.",
    discussion: """
      The new folder holds packed.safetensors, which is mapped and used in place, and the \
      configuration and, where there is one, the tokenizer of the model. It appears when it is \
      complete, or not at all. \
      Packing needs memory for the whole model.
      """)

  @Argument(help: "The checkpoint's folder.", completion: .directory)
  var model: String

  @Argument(help: "The folder to make.", completion: .directory)
  var out: String

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Bytes of a file at most: 500MB, 4GiB (default: one file).", valueName: "size"),
    transform: Numbers.bytes(1000...1 << 50))
  var shardSize: Int?

  @OptionGroup var threads: ThreadOptions

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func run() throws {
    let start = ContinuousClock.now
    Interrupt.install()
    let source = try ModelOptions.folder(model)
    let folder = try NewFolder(path: out)
    let hasTokenizer = try Self.hasTokenizer(source)
    let loaded = try load(source)
    guard let layout = loaded.layout, let first = layout.entry("embed.tokens") else {
      throw CheckpointError.unsupported(file: source, reason: "it is packed already")
    }
    try folder.copyCompanions(from: source)
    var metadata = loaded.metadata.filter { $0.key.hasPrefix("dejavu.") }
    metadata["dejavu.fingerprint"] = loaded.fingerprint
    let files = try write(
      layout, base: loaded.model.tokenEmbedding.base - first.offset, metadata, to: folder)
    try folder.commit()
    let figures = WritingFigures(
      command: "pack", folder: folder.path, byteCount: layout.byteCount, fileCount: files,
      tensorCount: layout.entries.count, fingerprint: metadata["dejavu.fingerprint"] ?? "",
      isSynthetic: loaded.isSynthetic, time: ContinuousClock.now - start)
    let warning =
      "there is no tokenizer in '\(source)': the model can be measured but cannot generate"
    try figures.print(output, warnings: loaded.warnings + (hasTokenizer ? [] : [warning]))
  }

  /// Whether the folder has a tokenizer, which a synthesized checkpoint has not.
  ///
  /// - Throws: what is wrong with one that is there, so that a folder that would be refused later is
  ///   not begun.
  private static func hasTokenizer(_ folder: String) throws -> Bool {
    do {
      _ = try loadTokenizer(folder: folder)
      return true
    } catch TokenizerError.noTokenizer {
      return false
    }
  }

  private func load(_ source: String) throws -> LoadedModel {
    let bar = ProgressBar("packing", isShown: !output.quiet)
    defer { bar.finish() }
    let team = try ThreadTeam(threads: threads.count)
    let loaded = try ModelFolder.load(source, team: team) { bar.update($0) }
    try Interrupt.check()
    return loaded
  }

  private func write(
    _ layout: PackedLayout, base: UnsafeRawPointer, _ metadata: [String: String],
    to folder: NewFolder
  ) throws -> Int {
    let bar = ProgressBar("writing", isShown: !output.quiet)
    defer { bar.finish() }
    return try PackedFile.write(
      layout, base: base, to: folder.workPath, metadata: metadata, shardBytes: shardSize ?? .max
    ) { progress in
      try Interrupt.check()
      bar.update(progress)
    }
  }
}
