/// A `pytorch_model.bin`, the pickled format that came before safetensors.
package enum PickleCheckpointFile {
  /// The tensors of one file.
  package static func entries(path: String) throws(CheckpointError) -> [TensorEntry] {
    throw .unsupported(file: path, reason: "pickled checkpoints are not read yet")
  }
}
