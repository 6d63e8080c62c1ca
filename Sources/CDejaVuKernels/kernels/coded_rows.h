// Kernels over coded rows, whatever their format: products, sums, the MLP block, matrix products.

/// Expands BODY(bits, group, narrow) for the format of `s`, all known when compiling.
#define CODED_WIDTHS(s, bits, group, BODY)                \
  do {                                                    \
    if ((s)->narrow) BODY(bits, group, 1);                \
    else BODY(bits, group, 0);                            \
  } while (0)
#define CODED_GROUPS(s, bits, BODY)                       \
  do {                                                    \
    if ((s)->group == 32) CODED_WIDTHS(s, bits, 32, BODY);\
    else if ((s)->group == 64) CODED_WIDTHS(s, bits, 64, BODY); \
    else CODED_WIDTHS(s, bits, 128, BODY);                \
  } while (0)
#define CODED_FORMATS(s, BODY)                            \
  do {                                                    \
    if ((s)->bits == 4) CODED_GROUPS(s, 4, BODY);         \
    else if ((s)->bits == 8) CODED_GROUPS(s, 8, BODY);    \
    else if ((s)->bits == 3) CODED_GROUPS(s, 3, BODY);    \
    else if ((s)->bits == 6) CODED_GROUPS(s, 6, BODY);    \
    else CODED_GROUPS(s, 2, BODY);                        \
  } while (0)

/// Products of four rows; the same sums as `dot_one`.
static void dot_quad(float y[CODED_QUAD], const uint8_t *const rows[CODED_QUAD],
                     const coded_vector *x, const coded_shape *s,
                     const uint8_t *const ahead[CODED_QUAD],
                     const uint8_t *const also[CODED_QUAD]) {
#define BODY(bits, group, narrow) \
  dot_some(y, rows, x, s, ahead, also, bits, group, narrow, CODED_QUAD)
  CODED_FORMATS(s, BODY);
#undef BODY
}

static void dot_one(float *y, const uint8_t *row, const coded_vector *x, const coded_shape *s) {
#define BODY(bits, group, narrow) dot_some(y, &row, x, s, &row, &row, bits, group, narrow, 1)
  CODED_FORMATS(s, BODY);
#undef BODY
}

static void add_octet(coded_sum *sum, const uint8_t *const rows[CODED_OCTET],
                      const float a[CODED_OCTET], const uint8_t *const ahead[CODED_OCTET],
                      const coded_shape *s) {
#define BODY(bits, group, narrow) add_some(sum, rows, a, ahead, 2, s, bits, group, narrow)
  CODED_FORMATS(s, BODY);
#undef BODY
}

static void add_quad(coded_sum *sum, const uint8_t *const rows[CODED_QUAD],
                     const float a[CODED_QUAD], const uint8_t *const ahead[CODED_QUAD],
                     const coded_shape *s) {
#define BODY(bits, group, narrow) add_some(sum, rows, a, ahead, 1, s, bits, group, narrow)
  CODED_FORMATS(s, BODY);
#undef BODY
}

/// Adds up to eight rows; those that are missing add nothing. Lines of `ahead` are asked for.
static void add_few(coded_sum *sum, const uint8_t *const rows[], const float a[], size_t count,
                    const uint8_t *const ahead[], const coded_shape *s) {
  const uint8_t *all[CODED_OCTET];
  float factors[CODED_OCTET];
  for (size_t r = 0; r < CODED_OCTET; r++) {
    all[r] = rows[r < count ? r : 0];
    factors[r] = r < count ? a[r] : 0;
  }
  if (count > CODED_QUAD) add_octet(sum, all, factors, ahead, s);
  else add_quad(sum, all, factors, ahead, s);
  sum->rows += count > CODED_QUAD ? CODED_OCTET : CODED_QUAD;
  if (sum->rows >= CODED_ROWS) finish_sum(sum, s);
}

static void widen_row(float *out, const uint8_t *row, const coded_shape *s, size_t first,
                      size_t end) {
  if (s->bits == 4) widen_some(out, row, s, first, end, 4);
  else if (s->bits == 8) widen_some(out, row, s, first, end, 8);
  else if (s->bits == 3) widen_some(out, row, s, first, end, 3);
  else if (s->bits == 6) widen_some(out, row, s, first, end, 6);
  else widen_some(out, row, s, first, end, 2);
}

static void kernel_coded_dot_rows(float *y, size_t y_stride, const void *w, size_t w_stride,
                                  size_t rows, const void *x, size_t x_stride, size_t tokens,
                                  size_t d, int32_t format) {
  coded_shape s = coded_shape_of(format, d);
  const uint8_t *first = w;
  for (size_t r = 0; r < rows; r += CODED_QUAD) {
    const uint8_t *quad[CODED_QUAD], *ahead[CODED_QUAD];
    for (size_t i = 0; i < CODED_QUAD; i++) {
      quad[i] = first + (r + i) * w_stride;
      ahead[i] = quad[i] + CODED_LEAD * w_stride;
    }
    for (size_t t = 0; t < tokens; t++) {
      coded_vector v = coded_vector_at((const char *)x + t * x_stride, &s);
      float *out = y + t * y_stride + r;
      if (r + CODED_QUAD <= rows) dot_quad(out, quad, &v, &s, t == 0 ? ahead : quad, quad);
      else
        for (size_t i = 0; r + i < rows; i++) dot_one(out + i, quad[i], &v, &s);
    }
  }
}

static void kernel_coded_axpy_rows(float *acc, const void *w, size_t w_stride, const float *a,
                                   size_t rows, size_t first, size_t end, size_t d,
                                   int32_t format) {
  coded_shape s = coded_shape_of(format, d);
  coded_sum sum;
  begin_sum(&sum, &s, acc, first, end);
  for (size_t r = 0; r < rows; r += CODED_OCTET) {
    const uint8_t *octet[CODED_OCTET], *ahead[CODED_OCTET];
    size_t count = rows - r < CODED_OCTET ? rows - r : CODED_OCTET;
    for (size_t i = 0; i < CODED_OCTET; i++) {
      octet[i] = (const uint8_t *)w + (r + i) * w_stride;
      ahead[i] = octet[i] + 2 * CODED_OCTET * w_stride;
    }
    add_few(&sum, octet, a + r, count, ahead, &s);
  }
  finish_sum(&sum, &s);
}

static void kernel_coded_widen(float *out, const void *row, size_t first, size_t end, size_t d,
                               int32_t format) {
  coded_shape s = coded_shape_of(format, d);
  widen_row(out, row, &s, first, end);
}

// The MLP block ----------------------------------------------------------------------------------

/// Down rows on their way into the cache, oldest first; four at a time are added:
/// with eight, memory would rest while they are added and choke while activations are computed. Where all are
/// read, `cursor` is the first entry whose down row has not been asked for; elsewhere the first
/// `asked` of those that wait have been.
typedef struct {
  const uint8_t *rows[3 * CODED_QUAD];
  float a[3 * CODED_QUAD];
  size_t count, asked, cursor;
} coded_pending;

/// Adds the oldest rows, four or as many as there are.
static void add_pending(coded_pending *pending, coded_sum *sum,
                        const uint8_t *const ahead[CODED_QUAD], const coded_shape *s) {
  size_t count = pending->count < CODED_QUAD ? pending->count : CODED_QUAD;
  add_few(sum, pending->rows, pending->a, count, ahead, s);
  pending->count -= count;
  pending->asked -= pending->asked < count ? pending->asked : count;
  for (size_t i = 0; i < pending->count; i++) {
    pending->rows[i] = pending->rows[i + count];
    pending->a[i] = pending->a[i + count];
  }
}

static inline size_t coded_neuron(const dejavu_mlp_job *job, size_t entry) {
  return job->list ? (size_t)job->list[entry] : entry;
}

static inline const uint8_t *coded_row(const dejavu_mlp_job *job, size_t entry, size_t row) {
  size_t first = job->nested ? job->nested->low_bytes : job->row_stride;
  size_t others = job->gated ? 2 : 1;
  const uint8_t *neuron = (const uint8_t *)job->bundle +
                          coded_neuron(job, entry) * (first + others * job->row_stride);
  return row == 0 ? neuron : neuron + first + (row - 1) * job->row_stride;
}

/// Rows `row` of the entries from `entry` up; past the end the last one stands in.
static inline void coded_quad(const uint8_t *rows[CODED_QUAD], const dejavu_mlp_job *job,
                              size_t entry, size_t end, size_t row) {
  for (size_t i = 0; i < CODED_QUAD; i++)
    rows[i] = coded_row(job, entry + i < end ? entry + i : end - 1, row);
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
                          const nested_middles *middles, size_t entry, size_t end,
                          const uint8_t *const low[CODED_QUAD]) {
  const dejavu_nested *n = job->nested;
  const uint8_t *high[CODED_QUAD];
  for (size_t i = 0; i < CODED_QUAD; i++)
    high[i] = (const uint8_t *)n->high +
              coded_neuron(job, entry + i < end ? entry + i : end - 1) * n->high_stride;
  nested_quad(y, high, low, n, middles);
}

/// What the down rows of the neurons from `entry` up are multiplied by. While their other rows are
/// multiplied, those of later neurons are asked for.
static void coded_activations(float a[CODED_QUAD], const dejavu_mlp_job *job,
                              const coded_vector *x, const coded_shape *s,
                              const nested_middles *middles, size_t entry, size_t end,
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
    nested_firsts(gate, job, middles, entry, end, rows);
  } else {
    dot_quad(gate, rows, x, s, ahead, also);
  }
  if (job->gated) {
    coded_quad(rows, job, entry, end, 1);
    coded_quad(ahead, job, entry + CODED_LEAD, end, 1);
    dot_quad(up, rows, x, s, ahead, rows);
  }
  for (size_t i = 0; i < CODED_QUAD; i++) {
    size_t neuron = coded_neuron(job, entry + i < end ? entry + i : end - 1);
    a[i] = finish_f32(job, neuron, gate[i], job->gated ? up[i] : gate[i]);
  }
}

/// Down rows whose activation is zero add nothing and take no place among four, read or not: so
/// that leaving them out changes no bit. Where all are read they come with the prefetched lines.
static size_t kernel_coded_mlp_rows(const dejavu_mlp_job *job, int32_t format, const void *rounded,
                                    size_t first, size_t count, float *acc) {
  coded_shape s = coded_shape_of(format, job->d);
  coded_vector x = coded_vector_at(rounded, &s);
  size_t read = 0, end = first + count, down = job->gated ? 2 : 1;
  coded_pending pending = {.count = 0, .cursor = first};
  coded_sum sum;
  begin_sum(&sum, &s, acc, 0, job->d);
  nested_middles middles;
  if (job->nested) begin_nested(&middles, job->nested);
  for (size_t entry = first; entry < end; entry += CODED_QUAD) {
    float a[CODED_QUAD];
    coded_activations(a, job, &x, &s, &middles, entry, end, &pending);
    size_t waiting = pending.count;
    for (size_t i = 0; i < CODED_QUAD && entry + i < end; i++) {
      if (is_skipped_f32(job, entry + i, a[i])) continue;
      read++;
      if (a[i] == 0) continue;
      pending.rows[pending.count] = coded_row(job, entry + i, down);
      pending.a[pending.count++] = a[i];
    }
    if (waiting < CODED_QUAD) continue;
    const uint8_t *ahead[CODED_QUAD];
    coded_downs(ahead, job, &pending, entry + CODED_LEAD + CODED_QUAD, end, pending.rows);
    add_pending(&pending, &sum, ahead, &s);
  }
  while (pending.count > 0) add_pending(&pending, &sum, pending.rows, &s);
  finish_sum(&sum, &s);
  return read;
}

// Matrix products --------------------------------------------------------------------------------

/// Widens what one panel of B is packed from: rows n..<n + width, columns k0..<k0 + kc, or the
/// other way round.
static void widen_panel(float *out, const dejavu_gemm_job *job, const coded_shape *s, size_t n,
                        size_t width, size_t k0, size_t kc) {
  size_t stride = job->by_rows ? kc : GEMM_NR, rows = job->by_rows ? width : kc;
  size_t row = job->by_rows ? n : k0, column = job->by_rows ? k0 : n;
  size_t columns = job->by_rows ? kc : width;
  // Whole vectors; rows have room for them behind their last column.
  columns = (columns + VW - 1) / VW * VW;
  for (size_t r = 0; r < rows; r++)
    widen_row(out + r * stride, (const uint8_t *)job->b + (row + r) * job->b_stride, s, column,
              column + columns);
}

/// The sums of packed panels of A with one of B.
static void multiply_panel(const dejavu_gemm_job *job, const float *b, size_t n, size_t width,
                           size_t k0, size_t kc) {
  size_t panels = (job->tokens + GEMM_MR - 1) / GEMM_MR;
  for (size_t p = 0; p < panels; p++) {
    const float *a = (const float *)job->packed_a + (p * job->k + k0) * GEMM_MR;
    size_t tall = job->tokens - p * GEMM_MR;
    gemm_tile(job->c + p * GEMM_MR * job->c_stride + n, job->c_stride, a, b, kc,
              tall < GEMM_MR ? tall : GEMM_MR, width, job->accumulates || k0 > 0);
    if (k0 + kc == job->k) finish_tile(job, p * GEMM_MR, n, width);
  }
}

static void kernel_coded_gemm(const dejavu_gemm_job *job, int32_t format, size_t d, size_t n0,
                              size_t count, float *scratch) {
  coded_shape s = coded_shape_of(format, d);
  float wide[GEMM_KC * GEMM_NR];
  for (size_t k0 = 0; k0 < job->k; k0 += GEMM_KC) {
    size_t kc = job->k - k0 < GEMM_KC ? job->k - k0 : GEMM_KC;
    for (size_t n = n0; n < n0 + count; n += GEMM_NR) {
      size_t width = n0 + count - n < GEMM_NR ? n0 + count - n : GEMM_NR;
      widen_panel(wide, job, &s, n, width, k0, kc);
      if (job->by_rows)
        pack_rows_f32(scratch, (const char *)wide, kc * sizeof(float), width, kc);
      else
        pack_columns_f32(scratch, (const char *)wide, GEMM_NR * sizeof(float), width, kc);
      multiply_panel(job, scratch, n, width, k0, kc);
    }
  }
}
