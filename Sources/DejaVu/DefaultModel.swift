import Foundation

#if canImport(Darwin)
  import Darwin
#endif

/// The model that comes with the program, found without any configuration.
///
/// Looked for in this order, the first that exists being taken:
/// 1. the folder that the environment variable `DEJAVU_MODEL` names, whatever it holds;
/// 2. `Models/opt-96m` beside the running executable, or beside any folder that contains it: a
///    program built in a checkout finds the checkout's model, a moved folder keeps working;
/// 3. `../share/dejavu/Models/opt-96m` from the executable's folder, where `make install` puts it.
public enum DefaultModel {
  /// The environment variable that names another folder.
  public static let variable = "DEJAVU_MODEL"
  /// Where the model lies inside a checkout or a folder of the program.
  public static let relativePath = "Models/opt-96m"

  /// The folder of the default model, or nil when there is none.
  ///
  /// The folder of `DEJAVU_MODEL` is returned unseen, so that loading it says what is wrong there.
  public static var path: String? {
    path(environment: ProcessInfo.processInfo.environment, executable: executable)
  }

  /// As ``path``, for a given environment and a given executable's real path.
  package static func path(environment: [String: String], executable: String?) -> String? {
    if let named = environment[variable], !named.isEmpty { return named }
    guard let executable else { return nil }
    return candidates(executable: executable).first {
      FileManager.default.fileExists(atPath: $0 + "/config.json")
    }
  }

  /// Every folder that is looked at, nearest first.
  package static func candidates(executable: String) -> [String] {
    var folder = URL(fileURLWithPath: executable).standardizedFileURL.deletingLastPathComponent()
    let installed = folder.deletingLastPathComponent().appendingPathComponent("share/dejavu")
    var folders: [URL] = []
    while folders.last != folder {
      folders.append(folder)
      if folder.path == "/" { break }
      folder = folder.deletingLastPathComponent()
    }
    folders.append(installed)
    return folders.map { $0.appendingPathComponent(relativePath).path }
  }

  /// Real path of the running program, links resolved.
  package static var executable: String? {
    #if os(Linux)
      return try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    #elseif canImport(Darwin)
      var size: UInt32 = 0
      _NSGetExecutablePath(nil, &size)
      var buffer = [CChar](repeating: 0, count: Int(size))
      guard _NSGetExecutablePath(&buffer, &size) == 0 else { return nil }
      let path = String(
        decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      return URL(fileURLWithPath: path).resolvingSymlinksInPath().path
    #else
      return CommandLine.arguments.first.map {
        URL(fileURLWithPath: $0).resolvingSymlinksInPath().path
      }
    #endif
  }
}
