import CDejaVuKernels
import DejaVuCore

extension CPUBackend {
  /// Runs a prompt's attention, and shows its weights where somebody looks.
  func attendShown(
    layer: Int, slice: SequenceSlice<CPUCache>, job: inout dejavu_prompt_attention_job
  ) {
    guard let attentionObserver else { return dejavu_prompt_attention(team.handle, &job) }
    let weights = CPUBuffer(
      capacity: architecture.heads * slice.count, width: slice.position + slice.count)
    (job.weights, job.weights_stride) = (weights.base, weights.stride)
    dejavu_prompt_attention(team.handle, &job)
    let lanes = (architecture.heads + architecture.kvHeads) * architecture.headWidth
    attentionObserver.observe(
      layer: layer,
      AttentionView(
        weights: UnsafePointer(weights.base), weightStride: weights.stride,
        values: UnsafePointer(scratch.projected.row(slice.start) + lanes),
        valueStride: scratch.projected.stride,
        context: UnsafePointer(scratch.context.row(slice.start)),
        contextStride: scratch.context.stride, tokens: slice.count, position: slice.position))
  }
}
