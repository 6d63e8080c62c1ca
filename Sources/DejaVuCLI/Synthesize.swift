import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuFormats

/// `dejavu synthesize`: a shape → a checkpoint of random weights.
struct Synthesize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write a checkpoint of a published shape with random weights.",
    discussion: """
      The folder is a Hugging Face OPT checkpoint in safetensors, without a tokenizer: it is for \
      measuring. The weights are those that 'dejavu bench --shape' makes in memory for the same \
      type, seed and density; their files and every report say that they are synthetic. Written \
      piece by piece, so that no shape needs more than a few megabytes of memory. The new folder \
      appears when it is complete, or not at all.
      """)

  @Option(
    help: ArgumentHelp("One of \(SyntheticOptions.names).", valueName: "name"),
    completion: .list(ModelShape.all.map(\.name)), transform: SyntheticOptions.shape)
  var shape: ModelShape

  @Argument(help: "The folder to make.", completion: .directory)
  var out: String

  @OptionGroup(title: "Weights")
  var synthetic: SyntheticOptions

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Bytes of a file at most: 500MB, 4GiB (default: 5GB).", valueName: "size"),
    transform: Numbers.bytes(1000...1 << 50))
  var shardSize = 5_000_000_000

  @OptionGroup var threads: ThreadOptions

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func run() throws {
    let start = ContinuousClock.now
    Interrupt.install()
    let checkpoint = SyntheticCheckpoint(
      shape: shape, options: synthetic.options, shardBytes: shardSize)
    try checkpoint.checkRoom(for: out)
    let folder = try NewFolder(path: out)
    let bar = ProgressBar("writing", isShown: !output.quiet)
    let team = try ThreadTeam(threads: threads.count)
    try checkpoint.write(to: folder.workPath, team: team) { progress in
      try Interrupt.check()
      bar.update(progress)
    }
    bar.finish()
    try folder.commit()
    let figures = WritingFigures(
      command: "synthesize", folder: folder.path, byteCount: checkpoint.byteCount,
      fileCount: checkpoint.fileCount, tensorCount: checkpoint.tensorCount,
      fingerprint: try Checkpoint.open(folder: folder.path).fingerprint, isSynthetic: true,
      time: ContinuousClock.now - start)
    try figures.print(output, warnings: [])
  }
}
