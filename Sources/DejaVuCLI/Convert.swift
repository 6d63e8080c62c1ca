import ArgumentParser
import DejaVuFormats

/// `dejavu convert`: any checkpoint → safetensors.
struct Convert: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write a checkpoint as safetensors.",
    discussion: """
      Reads safetensors and pytorch_model.bin, whole or in parts; nothing in a checkpoint is ever \
      executed. Names and types of the tensors stay as they are, configuration and tokenizer are \
      copied. The new folder appears when it is complete, or not at all.
      """)

  @Argument(help: "The checkpoint's folder, or one of its weight files.", completion: .file())
  var model: String

  @Argument(help: "The folder to make.", completion: .directory)
  var out: String

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Bytes of a file at most: 500MB, 4GiB (default: 5GB).", valueName: "size"),
    transform: Numbers.bytes(1000...1 << 50))
  var shardSize = 5_000_000_000

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func run() throws {
    let start = ContinuousClock.now
    Interrupt.install()
    let checkpoint = try Checkpoint.open(folder: model)
    let export = try CheckpointExport(checkpoint, shardBytes: shardSize)
    let folder = try NewFolder(path: out)
    let bar = ProgressBar("writing", isShown: !output.quiet)
    try folder.copyCompanions(from: checkpoint.folder)
    try export.write(to: folder) { done in
      try Interrupt.check()
      bar.update(done: done, of: export.byteCount)
    }
    bar.finish()
    try folder.commit()
    let figures = WritingFigures(
      command: "convert", folder: folder.path, byteCount: export.byteCount,
      fileCount: export.shards.count,
      tensorCount: export.shards.reduce(0) { $0 + $1.tensors.count },
      fingerprint: export.metadata["dejavu.fingerprint"] ?? "",
      isSynthetic: export.metadata["dejavu.synthetic"] != nil, time: ContinuousClock.now - start)
    try figures.print(output, warnings: checkpoint.warnings)
  }
}
