// The MLP block over coded rows.

/// Down rows on their way into the cache, oldest first; four at a time are added:
/// with eight, memory would rest while they are added and choke while activations are computed. Where all are
/// read, `cursor` is the first entry whose down row has not been asked for; elsewhere the first
/// `asked` of those that wait have been.
typedef struct {
  const uint8_t *rows[3 * CODED_QUAD];
  /// The scales that each of them shares, or NULL.
  const uint8_t *shared[3 * CODED_QUAD];
  float a[3 * CODED_QUAD];
  size_t count, asked, cursor;
  dejavu_rows_read read;
  /// The row of scales that was asked for last.
  const uint8_t *last;
} coded_pending;

/// How many of the oldest rows are added next: four, or all of a group that others follow; 0 where
/// more of their group may come. Only rows of one group share a sum, so that which rows meet depends
/// on what is added alone.
static size_t coded_ready(const coded_pending *pending) {
  size_t count = 0;
  while (count < CODED_QUAD && count < pending->count &&
         pending->shared[count] == pending->shared[0])
    count++;
  return count == CODED_QUAD || count < pending->count ? count : 0;
}

/// Adds the oldest rows.
static void add_pending(coded_pending *pending, size_t count, coded_sum *sum,
                        const uint8_t *const ahead[CODED_QUAD], const coded_shape *s) {
  enter_group(sum, s, pending->shared[0]);
  add_few(sum, pending->rows, pending->a, count, ahead, s);
  pending->count -= count;
  pending->asked -= pending->asked < count ? pending->asked : count;
  for (size_t i = 0; i < pending->count; i++) {
    pending->rows[i] = pending->rows[i + count];
    pending->shared[i] = pending->shared[i + count];
    pending->a[i] = pending->a[i + count];
  }
}

/// Down rows to ask for: those of the next neurons, up to entry `limit`, where all are read; else
/// those that wait and have not been asked for. `idle` stands in for those that there are not.
static void coded_downs(const uint8_t *rows[CODED_QUAD], const dejavu_mlp_job *job,
                        coded_pending *pending, size_t limit, size_t end,
                        const uint8_t *const idle[CODED_QUAD]) {
  if (!job->skips || job->prefetches_down) {
    if (pending->cursor < limit && pending->cursor < end) {
      coded_quad(rows, job, pending->cursor, end, job->gated ? 2 : 1);
      pending->cursor += CODED_QUAD;
      return;
    }
    for (size_t i = 0; i < CODED_QUAD; i++) rows[i] = idle[i];
    return;
  }
  for (size_t i = 0; i < CODED_QUAD; i++)
    rows[i] = pending->asked < pending->count ? pending->rows[pending->asked++] : idle[i];
}

/// Products of the first rows of the neurons from `entry` up, where they lie in two halves.
static void nested_firsts(float y[CODED_QUAD], const dejavu_mlp_job *job,
                          const nested_vector *x, size_t entry, size_t end,
                          const uint8_t *const low[CODED_QUAD]) {
  const dejavu_nested *n = job->nested;
  const uint8_t *high[CODED_QUAD];
  for (size_t i = 0; i < CODED_QUAD; i++)
    high[i] = (const uint8_t *)n->high +
              neuron_at(job, entry + i < end ? entry + i : end - 1) * n->high_stride;
  nested_quad(y, high, low, x);
}

/// What the down rows of the neurons from `entry` up are multiplied by. While their other rows are
/// multiplied, those of later neurons are asked for.
static void coded_activations(float a[CODED_QUAD], const dejavu_mlp_job *job,
                              const coded_vector *x, const coded_shape *s,
                              const nested_vector *nested, size_t entry, size_t end,
                              coded_pending *pending) {
  const uint8_t *rows[CODED_QUAD], *ahead[CODED_QUAD], *also[CODED_QUAD];
  float gate[CODED_QUAD], up[CODED_QUAD];
  coded_quad(rows, job, entry, end, 0);
  coded_quad(ahead, job, entry + CODED_LEAD, end, 0);
  coded_downs(also, job, pending, entry + CODED_LEAD, end, rows);
  if (job->nested) {
    for (size_t i = 0; i < CODED_QUAD; i++) {
      prefetch_span(ahead[i], job->nested->low_bytes);
      if (also[i] != rows[i]) prefetch_span(also[i], s->row_bytes);
    }
    nested_firsts(gate, job, nested, entry, end, rows);
  } else {
    dot_quad(gate, rows, x, s, ahead, also);
  }
  if (job->gated) {
    coded_quad(rows, job, entry, end, 1);
    coded_quad(ahead, job, entry + CODED_LEAD, end, 1);
    dot_quad(up, rows, x, s, ahead, rows);
  }
  for (size_t i = 0; i < CODED_QUAD; i++) {
    size_t neuron = neuron_at(job, entry + i < end ? entry + i : end - 1);
    a[i] = finish_f32(job, neuron, gate[i], job->gated ? up[i] : gate[i]);
  }
}

/// Notes the down rows of the neurons from `entry` up, and asks for scales that they are the first to
/// share. Rows whose activation is zero add nothing and take no place among four, read or not: so that
/// leaving them out changes no bit. Where all are read they come with the prefetched lines.
static void coded_note(coded_pending *pending, const dejavu_mlp_job *job, const coded_shape *s,
                       const float a[CODED_QUAD], size_t entry, size_t end) {
  for (size_t i = 0; i < CODED_QUAD && entry + i < end; i++) {
    if (is_skipped_f32(job, entry + i, a[i])) continue;
    const uint8_t *shared = NULL;
    size_t neuron = neuron_at(job, entry + i);
    if (s->shared) shared = shared_row(job->down_scales, neuron);
    if (shared != pending->last) {
      ask_for_shared(shared, s);
      pending->read.scales++;
      pending->last = shared;
    }
    pending->read.down++;
    if (a[i] == 0) continue;
    pending->rows[pending->count] = coded_row(job, entry + i, job->gated ? 2 : 1);
    pending->shared[pending->count] = shared;
    pending->a[pending->count++] = a[i];
  }
}

/// What is ready is added an iteration after it was noted, when it has come: at most three rows and
/// four new ones stay behind.
static dejavu_rows_read kernel_coded_mlp_rows(const dejavu_mlp_job *job, int32_t format,
                                              const void *rounded, size_t first, size_t count,
                                              float *acc) {
  coded_shape s = coded_shape_of(format, job->d);
  if (is_streamed(job)) return streamed_mlp_rows(job, &s, rounded, first, first + count, acc);
  coded_shape down = coded_shape_of(
      format | (job->down_scales.base ? DEJAVU_SHARED : 0), job->d);
  coded_vector x = coded_vector_at(rounded, &s);
  size_t end = first + count;
  coded_pending pending = {.count = 0, .cursor = first};
  coded_sum sum;
  begin_sum(&sum, &down, acc, 0, job->d);
  nested_vector nested;
  if (job->nested) begin_nested(&nested, job->nested);
  for (size_t entry = first; entry < end; entry += CODED_QUAD) {
    float a[CODED_QUAD];
    coded_activations(a, job, &x, &s, &nested, entry, end, &pending);
    size_t waiting = pending.count, ready;
    coded_note(&pending, job, &down, a, entry, end);
    while ((ready = coded_ready(&pending)) > 0 && ready <= waiting) {
      const uint8_t *ahead[CODED_QUAD];
      coded_downs(ahead, job, &pending, entry + CODED_LEAD + CODED_QUAD, end, pending.rows);
      add_pending(&pending, ready, &sum, ahead, &down);
      waiting -= ready;
    }
  }
  while (pending.count > 0) {
    size_t ready = coded_ready(&pending);
    add_pending(&pending, ready > 0 ? ready : pending.count, &sum, pending.rows, &down);
  }
  finish_sum(&sum, &down);
  return pending.read;
}
