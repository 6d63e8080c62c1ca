import DejaVuCore

extension CUDABackend {
  /// Shows a prompt batch to the observer, if there is one that wants it: what the step has come to
  /// is run, and the buffer copied to the host.
  func show(_ buffer: CUDABuffer, at site: StepSite, layer: Int) {
    guard let observer, batch.tokens.count > 1, observer.wants(site, layer: layer) else { return }
    flush()
    let bytes = 4 * batch.tokens.count * buffer.stride
    if shown.map({ $0.byteCount < bytes }) ?? true {
      shown = attempt { () throws(BackendError) in
        try PinnedMemory(device, byteCount: bytes, what: "what is shown of a prompt")
      }
    }
    guard let shown else { return }
    device.fetch(buffer.row(0), to: shown.base, bytes: bytes)
    device.wait()
    guard device.failure == nil else { return }
    observer.observe(
      site, layer: layer, values: shown.base.assumingMemoryBound(to: Float.self),
      tokens: batch.tokens.count, stride: buffer.stride)
  }
}
