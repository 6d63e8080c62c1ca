// Where the coded rows of a neuron lie.

static inline const uint8_t *coded_row(const dejavu_mlp_job *job, size_t entry, size_t row) {
  size_t first = job->nested ? job->nested->low_bytes : job->row_stride;
  size_t others = job->gated ? 2 : 1;
  const uint8_t *neuron = (const uint8_t *)job->bundle +
                          neuron_at(job, entry) * (first + others * job->row_stride);
  return row == 0 ? neuron : neuron + first + (row - 1) * job->row_stride;
}

/// Rows `row` of the entries from `entry` up; past the end the last one stands in.
static inline void coded_quad(const uint8_t *rows[CODED_QUAD], const dejavu_mlp_job *job,
                              size_t entry, size_t end, size_t row) {
  for (size_t i = 0; i < CODED_QUAD; i++)
    rows[i] = coded_row(job, entry + i < end ? entry + i : end - 1, row);
}
