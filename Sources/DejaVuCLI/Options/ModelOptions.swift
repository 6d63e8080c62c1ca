import ArgumentParser
import DejaVu
import DejaVuFormats

/// Which model a command works on.
struct ModelOptions: ParsableArguments {
  @Option(
    name: [.short, .long],
    help: ArgumentHelp(
      "The model's folder: a Hugging Face checkpoint, or one made by 'dejavu pack'.",
      discussion: "Without it the model that comes with dejavu, or the one DEJAVU_MODEL names.",
      valueName: "path"),
    completion: .directory)
  var model: String?

  /// The folder, after looking whether it is one.
  func folder() throws -> String { try Self.folder(model) }

  static func folder(_ named: String?) throws -> String {
    guard let path = named ?? DefaultModel.path else { throw CommandError.noDefaultModel }
    try FileSystem.requireFolder(path)
    return path
  }
}
