// The MLP block over coded rows that are all read in the order in which they lie.

/// Down rows of a stream that wait until there are four, fewer than that between neurons.
typedef struct {
  const uint8_t *rows[2 * CODED_QUAD];
  float a[2 * CODED_QUAD];
  size_t count;
} coded_waiting;

/// What the down rows of the neurons from `entry` up are multiplied by, of a stream.
static void streamed_activations(float a[CODED_QUAD], const dejavu_mlp_job *job, const coded_vector *x,
                                 const coded_shape *s, size_t entry, size_t end,
                                 coded_stream *stream) {
  const uint8_t *rows[CODED_QUAD];
  float gate[CODED_QUAD], up[CODED_QUAD];
  coded_quad(rows, job, entry, end, 0);
  dot_streamed(gate, rows, x, s, stream);
  if (job->gated) {
    coded_quad(rows, job, entry, end, 1);
    dot_streamed(up, rows, x, s, stream);
  }
  for (size_t i = 0; i < CODED_QUAD && entry + i < end; i++)
    a[i] = finish_f32(job, entry + i, gate[i], job->gated ? up[i] : gate[i]);
}

/// Whether all neurons are read, in the order in which they lie.
static int is_streamed(const dejavu_mlp_job *job) {
  return !job->list && !job->nested && !job->down_scales.base &&
         (!job->skips || job->prefetches_down);
}

/// The same sums as `kernel_coded_mlp_rows` has, rows that are zero left out and the others by four, while one
/// stream is read.
static dejavu_rows_read streamed_mlp_rows(const dejavu_mlp_job *job, const coded_shape *s,
                                          const void *rounded, size_t first, size_t end, float *acc) {
  coded_vector x = coded_vector_at(rounded, s);
  coded_sum sum;
  coded_waiting waiting = {.count = 0};
  dejavu_rows_read read = {0};
  size_t down = job->gated ? 2 : 1, bundle = (down + 1) * job->row_stride;
  coded_stream stream = {coded_row(job, first, 0), coded_row(job, first, 0)};
  begin_sum(&sum, s, acc, 0, job->d);
  ask_until_due(&stream, CODED_LEAD * bundle);
  for (size_t entry = first; entry < end; entry += CODED_QUAD) {
    float a[CODED_QUAD];
    const uint8_t *due = stream.due + CODED_QUAD * bundle;
    streamed_activations(a, job, &x, s, entry, end, &stream);
    for (size_t i = 0; i < CODED_QUAD && entry + i < end; i++) {
      if (is_skipped_f32(job, entry + i, a[i])) continue;
      read.down++;
      if (a[i] == 0) continue;
      waiting.rows[waiting.count] = coded_row(job, entry + i, down);
      waiting.a[waiting.count++] = a[i];
    }
    if (waiting.count >= CODED_QUAD) {
      add_streamed(&sum, waiting.rows, waiting.a, &stream, s);
      note_added(&sum, CODED_QUAD, s);
      waiting.count -= CODED_QUAD;
      for (size_t i = 0; i < waiting.count; i++) {
        waiting.rows[i] = waiting.rows[i + CODED_QUAD];
        waiting.a[i] = waiting.a[i + CODED_QUAD];
      }
    }
    // Rows that are left out, and what lies between rows.
    ask_until_due(&stream, (size_t)(due - stream.due));
  }
  if (waiting.count > 0) add_few(&sum, waiting.rows, waiting.a, waiting.count, waiting.rows, s);
  finish_sum(&sum, s);
  return read;
}
