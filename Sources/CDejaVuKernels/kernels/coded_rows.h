// Kernels over coded rows, whatever their format: products, sums, matrix products.

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
#define BODY(bits, group, narrow)                                                        \
  dot_some(y, rows, x, s, (coded_asks){ahead, also, NULL}, bits, group, narrow, CODED_QUAD)
  CODED_FORMATS(s, BODY);
#undef BODY
}

/// The same of a stream.
static void dot_streamed(float y[CODED_QUAD], const uint8_t *const rows[CODED_QUAD],
                         const coded_vector *x, const coded_shape *s, coded_stream *stream) {
#define BODY(bits, group, narrow)                                                        \
  dot_some(y, rows, x, s, (coded_asks){NULL, NULL, stream}, bits, group, narrow, CODED_QUAD)
  CODED_FORMATS(s, BODY);
#undef BODY
}

/// The product of one row, for which nothing is asked.
static void dot_one(float *y, const uint8_t *row, const coded_vector *x, const coded_shape *s) {
#define BODY(bits, group, narrow) \
  dot_some(y, &row, x, s, (coded_asks){NULL, NULL, NULL}, bits, group, narrow, 1)
  CODED_FORMATS(s, BODY);
#undef BODY
}

static void add_octet(coded_sum *sum, const uint8_t *const rows[CODED_OCTET],
                      const float a[CODED_OCTET], const uint8_t *const ahead[CODED_OCTET],
                      const coded_shape *s) {
#define BODY(bits, group, narrow)                                                        \
  add_some(sum, rows, a, (coded_asks){ahead, NULL, NULL}, 2, s, bits, group, narrow)
  CODED_FORMATS(s, BODY);
#undef BODY
}

static void add_quad(coded_sum *sum, const uint8_t *const rows[CODED_QUAD],
                     const float a[CODED_QUAD], const uint8_t *const ahead[CODED_QUAD],
                     const coded_shape *s) {
#define BODY(bits, group, narrow)                                                        \
  add_some(sum, rows, a, (coded_asks){ahead, NULL, NULL}, 1, s, bits, group, narrow)
  CODED_FORMATS(s, BODY);
#undef BODY
}

/// The same of a stream.
static void add_streamed(coded_sum *sum, const uint8_t *const rows[CODED_QUAD],
                         const float a[CODED_QUAD], coded_stream *stream, const coded_shape *s) {
#define BODY(bits, group, narrow)                                                        \
  add_some(sum, rows, a, (coded_asks){NULL, NULL, stream}, 1, s, bits, group, narrow)
  CODED_FORMATS(s, BODY);
#undef BODY
}

/// Notes that rows were added, and what zeros subtract once there are enough.
static void note_added(coded_sum *sum, size_t rows, const coded_shape *s) {
  sum->rows += rows;
  if (sum->rows >= (s->shared ? CODED_SHARED_ROWS : CODED_ROWS)) finish_sum(sum, s);
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
  note_added(sum, count > CODED_QUAD ? CODED_OCTET : CODED_QUAD, s);
}

static void widen_row(float *out, const uint8_t *row, const coded_shape *s, size_t first,
                      size_t end) {
  if (s->bits == 4) widen_some(out, row, s, first, end, 4);
  else if (s->bits == 8) widen_some(out, row, s, first, end, 8);
  else if (s->bits == 3) widen_some(out, row, s, first, end, 3);
  else if (s->bits == 6) widen_some(out, row, s, first, end, 6);
  else widen_some(out, row, s, first, end, 2);
}

/// Rows that lie one behind the other, and where those lie that are read after them, or NULL.
typedef struct {
  const uint8_t *first, *next;
  size_t stride, count;
} coded_run;

/// Row r of a run or, behind its end, of the next one; where there is none, a row that is at hand.
static inline const uint8_t *run_row(const coded_run *run, size_t r) {
  if (r < run->count) return run->first + r * run->stride;
  if (run->next) return run->next + (r - run->count) * run->stride;
  return run->first + (run->count - 1) * run->stride;
}

/// Products of a run one row at a time: only what lies behind the codes is asked for.
static void dot_run(float *y, const coded_run *run, const coded_vector *x, const coded_shape *s) {
  for (size_t r = 0; r < run->count; r++) {
    ask_behind_codes(run_row(run, r + 2), s);
    dot_one(y + r, run->first + r * run->stride, x, s);
  }
}

static void kernel_coded_dot_rows(float *y, size_t y_stride, const void *w, size_t w_stride,
                                  size_t rows, const void *next, const void *x, size_t x_stride,
                                  size_t tokens, size_t d, int32_t format) {
  coded_shape s = coded_shape_of(format, d);
  coded_run run = {w, next, w_stride, rows};
  if (s.bits == 8 && tokens == 1) {
    coded_vector v = coded_vector_at(x, &s);
    dot_run(y, &run, &v, &s);
    return;
  }
  for (size_t r = 0; r < rows; r += CODED_QUAD) {
    const uint8_t *quad[CODED_QUAD], *ahead[CODED_QUAD];
    for (size_t i = 0; i < CODED_QUAD; i++) {
      quad[i] = run.first + (r + i) * w_stride;
      ahead[i] = run_row(&run, r + i + CODED_LEAD);
    }
    for (size_t t = 0; t < tokens; t++) {
      coded_vector v = coded_vector_at((const char *)x + t * x_stride, &s);
      float *out = y + t * y_stride + r;
      if (r + CODED_QUAD <= rows) dot_quad(out, quad, &v, &s, t == 0 ? ahead : quad, NULL);
      else
        for (size_t i = 0; r + i < rows; i++) dot_one(out + i, quad[i], &v, &s);
    }
  }
}

/// Adds rows `from`..<`end` of a run.
static void add_run(coded_sum *sum, const coded_run *run, const float *a, size_t from, size_t end,
                    const coded_shape *s) {
  for (size_t r = from; r < end; r += CODED_OCTET) {
    const uint8_t *octet[CODED_OCTET], *ahead[CODED_OCTET];
    size_t count = end - r < CODED_OCTET ? end - r : CODED_OCTET;
    for (size_t i = 0; i < CODED_OCTET; i++) {
      octet[i] = run->first + (r + i) * run->stride;
      ahead[i] = run_row(run, r + i + 2 * CODED_OCTET);
    }
    add_few(sum, octet, a + r, count, ahead, s);
  }
}

static void kernel_coded_axpy_rows(float *acc, const void *w, size_t w_stride, const float *a,
                                   size_t rows, const void *next, size_t first, size_t end, size_t d,
                                   int32_t format, dejavu_scale_rows scales, size_t row) {
  coded_shape s = coded_shape_of(format, d);
  coded_run run = {w, next, w_stride, rows};
  coded_sum sum;
  begin_sum(&sum, &s, acc, first, end);
  for (size_t r = 0, count; r < rows; r += count) {
    count = rows - r;
    if (s.shared) {
      // As far as the group of the next row goes.
      size_t left = scales.group - (row + r) % scales.group;
      count = count < left ? count : left;
      ask_for_shared(shared_row(scales, row + r), &s);
      enter_group(&sum, &s, shared_row(scales, row + r));
    }
    add_run(&sum, &run, a, r, r + count, &s);
  }
  finish_sum(&sum, &s);
}

static void kernel_coded_widen(float *out, const void *row, size_t first, size_t end, size_t d,
                               int32_t format, const void *scales) {
  coded_shape s = coded_shape_of(format, d);
  widen_row(out, row, &s, first, end);
  if (s.shared) share_scales(out, scales, &s, first, end);
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
  for (size_t r = 0; r < rows; r++) {
    float *to = out + r * stride;
    widen_row(to, (const uint8_t *)job->b + (row + r) * job->b_stride, s, column, column + columns);
    if (s->shared)
      share_scales(to, shared_row(job->scales, row + r), s, column, column + columns);
  }
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
