import DejaVuCore
import DejaVuFormats
import Foundation
import Testing

/// Writes the tensors of `entries` that `keep` names, under new names if asked.
private func rewrite(
  _ entries: [TensorEntry], to path: String, rename: (String) -> String = { $0 },
  keep: (String) -> Bool = { _ in true }, more: [SafetensorsDeclaration] = []
) throws {
  let kept = entries.filter { keep($0.name) }
  let writer = try SafetensorsWriter(
    path: path,
    tensors: kept.map {
      SafetensorsDeclaration(
        name: rename($0.name), type: StoredType(rawValue: $0.storedType) ?? .uint8, shape: $0.shape)
    } + more)
  for entry in kept {
    try entry.withBytes { try writer.append($0, to: rename(entry.name)) }
  }
  for tensor in more {
    let count = tensor.type.byteCount(shape: tensor.shape) ?? 0
    try writer.append([UInt8](repeating: 0, count: count), to: tensor.name)
  }
  try writer.finish()
}

private func entries(of golden: String) throws -> [TensorEntry] {
  try SafetensorsFile(path: Golden.folder(golden) + "/model.safetensors").entries
}

private func index(_ map: [String: String]) -> String {
  let lines = map.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\"\($0.value)\"" }
  return "{\"metadata\":{\"total_size\":1},\"weight_map\":{\(lines.joined(separator: ","))}}"
}

@Suite struct `Checkpoints` {
  @Test func `a folder without weights says what was looked for`() throws {
    let folder = try TemporaryFolder()
    #expect(
      message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
        == "cannot read 'FOLDER': the folder holds no weights; looked for model.safetensors, "
        + "model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json")
    #expect(
      message(in: folder) { _ = try Checkpoint.open(folder: folder.path + "/none") }
        == "cannot read 'FOLDER/none': No such file or directory")
    let text = try folder.write("weights.txt", "")
    #expect(
      message(in: folder) { _ = try Checkpoint.open(folder: text) }
        == "'FOLDER/weights.txt' cannot be used: its name ends neither in .safetensors nor in "
        + ".bin; name the folder")
  }

  @Test func `weights without a configuration are refused`() throws {
    let folder = try TemporaryFolder()
    try folder.copy("model.safetensors", of: "tiny-opt")
    #expect(
      message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
        == "cannot read 'FOLDER/config.json': No such file or directory")
  }

  @Test func `a weight file opens as its folder does`() throws {
    let folder = Golden.folder("tiny-llama")
    let whole = try Checkpoint.open(folder: folder)
    let file = try Checkpoint.open(folder: folder + "/model.safetensors")
    #expect(whole.views == file.views && whole.folder == file.folder)
    #expect(whole.metadata == ["format": "pt"])
  }

  @Test func `a weight file that is a folder, a pipe or a broken link is refused`() throws {
    for make in [
      { (path: String) in mkdir(path, 0o700) }, { mkfifo($0, 0o600) },
      { symlink("nothing", $0) },
    ] {
      let folder = try TemporaryFolder()
      try folder.copy("config.json", of: "tiny-opt")
      #expect(make(folder.path + "/model.safetensors") == 0)
      let text = message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
      #expect(text.hasPrefix("cannot read 'FOLDER/model.safetensors': "))
    }
  }

  @Test func `shapes that belong to another model are refused before any copy`() throws {
    let folder = try TemporaryFolder()
    try folder.copy("model.safetensors", of: "tiny-llama")
    let config = try String(
      contentsOfFile: Golden.folder("tiny-llama") + "/config.json", encoding: .utf8)
    let changes = [
      (
        "\"vocab_size\": 320", "\"vocab_size\": 321", "model.embed_tokens.weight", "[320, 64]",
        "[321, 64]"
      ),
      (
        "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4",
        "model.layers.0.self_attn.k_proj.weight", "[16, 64]", "[32, 64]"
      ),
      (
        "\"intermediate_size\": 176", "\"intermediate_size\": 175",
        "model.layers.0.mlp.gate_proj.weight", "[176, 64]", "[175, 64]"
      ),
    ]
    for (old, new, tensor, found, expected) in changes {
      try folder.write("config.json", config.replacingOccurrences(of: old, with: new))
      #expect(
        message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
          == "tensor '\(tensor)' is \(found) in the file but config.json implies \(expected); "
          + "the configuration and the weights belong to different models")
    }
  }

  @Test func `a missing weight is named, the head of an untied model too`() throws {
    for name in ["model.layers.1.mlp.up_proj.weight", "lm_head.weight", "model.norm.weight"] {
      let folder = try TemporaryFolder()
      try folder.copy("config.json", of: "tiny-llama")
      try rewrite(
        entries(of: "tiny-llama"), to: folder.path + "/model.safetensors", keep: { $0 != name })
      #expect(
        message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
          == "tensor '\(name)' is implied by config.json but no file in 'FOLDER' holds it; "
          + "the checkpoint is incomplete")
    }
  }

  @Test func `weights that are not floating-point are refused by type`() throws {
    let folder = try TemporaryFolder()
    try folder.copy("config.json", of: "tiny-llama")
    try rewrite(
      entries(of: "tiny-llama"), to: folder.path + "/model.safetensors",
      keep: { $0 != "model.norm.weight" },
      more: [SafetensorsDeclaration(name: "model.norm.weight", type: .float8e4m3, shape: [64])])
    #expect(
      message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
        == "'FOLDER/model.safetensors' cannot be used: tensor 'model.norm.weight' is stored as "
        + "F8_E4M3; weights must be F32, F16 or BF16")
  }

  @Test func `a stored copy of a tied head must have the head's shape`() throws {
    for (rows, isFine) in [(320, true), (319, false)] {
      let folder = try TemporaryFolder()
      try folder.copy("config.json", of: "tiny-opt")
      try rewrite(
        entries(of: "tiny-opt"), to: folder.path + "/model.safetensors",
        more: [SafetensorsDeclaration(name: "lm_head.weight", type: .float32, shape: [rows, 64])])
      if isFine {
        let checkpoint = try Checkpoint.open(folder: folder.path)
        #expect(checkpoint.warnings == [] && checkpoint.views[.head] == nil)
      } else {
        #expect(throws: CheckpointError.self) { try Checkpoint.open(folder: folder.path) }
      }
    }
  }

  @Test func `tensors that nobody needs are named in warnings`() throws {
    let folder = try TemporaryFolder()
    try folder.copy("config.json", of: "tiny-llama")
    try rewrite(
      entries(of: "tiny-llama"), to: folder.path + "/model.safetensors",
      more: ["model.extra", "model.layers.0.self_attn.rotary_emb.inv_freq", "é"].map {
        SafetensorsDeclaration(name: $0, type: .uint8, shape: [1])
      })
    #expect(
      try Checkpoint.open(folder: folder.path).warnings == [
        "tensor 'model.extra' is not part of the architecture and is ignored",
        "tensor 'é' is not part of the architecture and is ignored",
      ])
  }

  @Test(arguments: [
    ("tiny-opt", "model.decoder.", "decoder."), ("tiny-opt", "model.decoder.", ""),
    ("tiny-llama", "model.", ""), ("tiny-gpt2", "transformer.", ""),
    ("tiny-bloom", "transformer.", ""), ("tiny-gpt-neox", "gpt_neox.", ""),
  ])
  func `names are found with and without the wrapper's prefix`(
    golden: String, long: String, short: String
  ) throws {
    let folder = try TemporaryFolder()
    try folder.copy("config.json", of: golden)
    try rewrite(
      entries(of: golden), to: folder.path + "/model.safetensors",
      rename: { $0.hasPrefix(long) ? short + $0.dropFirst(long.count) : $0 })
    let checkpoint = try Checkpoint.open(folder: folder.path)
    let original = try Checkpoint.open(folder: Golden.folder(golden))
    #expect(checkpoint.views.count == original.views.count)
    #expect(checkpoint.views[.tokenEmbedding]?.tensor.hasPrefix(long) == false)
  }

  @Test func `a pickled checkpoint is taken where nothing safer is there`() throws {
    let folder = try TemporaryFolder()
    try folder.copy("config.json", of: "tiny-opt")
    try folder.write("pytorch_model.bin", "no pickle")
    let text = message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
    #expect(text.contains("'FOLDER/pytorch_model.bin'"))
    try folder.copy("model.safetensors", of: "tiny-opt")
    #expect(try Checkpoint.open(folder: folder.path).views.count > 0)
  }
}

@Suite struct `Sharded checkpoints` {
  /// A folder with tiny-opt in two shards; layer 1 is in the second.
  private func sharded() throws -> (folder: TemporaryFolder, map: [String: String]) {
    let folder = try TemporaryFolder()
    try folder.copy("config.json", of: "tiny-opt")
    let all = try entries(of: "tiny-opt")
    var map: [String: String] = [:]
    for entry in all {
      map[entry.name] = entry.name.contains("layers.1.") ? "b.safetensors" : "a.safetensors"
    }
    for shard in ["a.safetensors", "b.safetensors"] {
      try rewrite(all, to: folder.path + "/" + shard, keep: { map[$0] == shard })
    }
    try folder.write("model.safetensors.index.json", index(map))
    return (folder, map)
  }

  @Test func `shards open as the single file does`() throws {
    let (folder, _) = try sharded()
    let checkpoint = try Checkpoint.open(folder: folder.path)
    let single = try Checkpoint.open(folder: Golden.folder("tiny-opt"))
    #expect(checkpoint.views == single.views && checkpoint.warnings == [])
    #expect(checkpoint.fingerprint == single.fingerprint)
    #expect(
      try Checkpoint.open(folder: folder.path + "/model.safetensors.index.json").views
        == single.views)
  }

  @Test(arguments: [
    "../../x", "/etc/passwd", "", ".", "..", "sub/x.safetensors", "a\\\\b", "a\\u0000b",
    String(repeating: "n", count: 256),
  ])
  func `a shard that is no bare file name is refused`(name: String) throws {
    let (folder, map) = try sharded()
    var changed = map
    changed["model.decoder.embed_tokens.weight"] = name
    try folder.write("model.safetensors.index.json", index(changed))
    let text = message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
    #expect(
      text.hasPrefix(
        "'weight_map.model.decoder.embed_tokens.weight' in 'FOLDER/model.safetensors.index.json'"))
    #expect(text.hasSuffix("but must be the bare name of a file beside the index"))
  }

  @Test func `a shard that is missing is named`() throws {
    let (folder, _) = try sharded()
    try FileManager.default.removeItem(atPath: folder.path + "/b.safetensors")
    #expect(
      message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
        == "cannot read 'FOLDER/b.safetensors': No such file or directory")
  }

  @Test func `a tensor in another shard than named is refused`() throws {
    let (folder, map) = try sharded()
    var changed = map
    changed["model.decoder.layers.1.fc1.bias"] = "a.safetensors"
    try folder.write("model.safetensors.index.json", index(changed))
    #expect(
      message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
        == "tensor 'model.decoder.layers.1.fc1.bias' should be in 'a.safetensors' by the index "
        + "but is in 'b.safetensors'; download the index and its shards again")
  }

  @Test func `a tensor in two shards is refused`() throws {
    let (folder, map) = try sharded()
    try rewrite(
      entries(of: "tiny-opt"), to: folder.path + "/b.safetensors",
      keep: { map[$0] == "b.safetensors" || $0 == "model.decoder.embed_tokens.weight" })
    #expect(
      message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
        == "tensor 'model.decoder.embed_tokens.weight' should be in 'a.safetensors' by the index "
        + "but is in 'b.safetensors'; download the index and its shards again")
  }

  @Test func `a tensor that the index names and no shard holds is refused`() throws {
    let (folder, map) = try sharded()
    var changed = map
    changed["ghost"] = "a.safetensors"
    try folder.write("model.safetensors.index.json", index(changed))
    #expect(
      message(in: folder) { _ = try Checkpoint.open(folder: folder.path) }
        == "tensor 'ghost' in 'FOLDER/model.safetensors.index.json' is invalid: "
        + "the index says that 'a.safetensors' holds it, but no file does; "
        + "download or convert it again")
  }

  @Test func `a tensor that the index does not name is a warning`() throws {
    let (folder, map) = try sharded()
    try rewrite(
      entries(of: "tiny-opt"), to: folder.path + "/b.safetensors",
      keep: { map[$0] == "b.safetensors" },
      more: [SafetensorsDeclaration(name: "stowaway", type: .uint8, shape: [1])])
    #expect(
      try Checkpoint.open(folder: folder.path).warnings
        == ["tensor 'stowaway' is not part of the architecture and is ignored"])
  }

  @Test(arguments: [
    "{}", "{\"weight_map\":[]}", "{\"weight_map\":{\"a\":1}}", "[]", "",
    "{\"weight_map\":{\"a\":\"x\",\"a\":\"x\"}}",
    "{\"weight_map\":{\"\u{E9}\":\"x\",\"e\u{301}\":\"x\"}}",
  ])
  func `an index of another shape is refused`(text: String) throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("model.safetensors.index.json", text)
    #expect(throws: CheckpointError.self) { try ShardIndex(path: path) }
  }
}
