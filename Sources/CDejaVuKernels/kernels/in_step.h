// Rows that are read in step, several side by side: included by isa_avx512.c, whose 32 registers hold their
// sums, per type as stream.h is, with TYPE the number of the stored one.
//
// A core has some twenty software prefetches on their way, which brings random bundles of 8 KiB at 20 GB/s. The
// hardware's own prefetcher follows eight streams at 24, and starts anew with every row if they come one by one;
// and an input is loaded once for all rows. What lies ahead is asked for all the same: by the time that it
// takes to multiply, the hardware alone comes late. A sum has the order of stream.h in 256-bit vectors, two of
// which lie side by side in one of 512: the same bits.

/// Asks for a step of each row from column `at` on.
static inline __attribute__((always_inline)) void NAME(ask_step)(const ELEM *const *asked, size_t rows, size_t at) {
#pragma clang loop unroll(full)
  for (size_t r = 0; r < rows; r++) prefetch_span(asked[r] + at, STEP * sizeof(ELEM));
}

/// Columns from..<end of `dot_step`, while those of `asked` are asked for from `at` on.
static inline __attribute__((always_inline)) void NAME(dot_columns)(
    vf s[ABREAST][STEP_TOKENS][2], const ELEM *const *w, size_t rows, const float *x, size_t x_stride,
    size_t tokens, size_t sums, size_t from, size_t end, const ELEM *const *asked, size_t at) {
  vf own[STEP_TOKENS][2];
#pragma clang loop unroll(disable)
  for (size_t i = from; i < end; i += STEP, at += STEP) {
    NAME(ask_step)(asked, rows, at);
#pragma clang loop unroll(full)
    for (size_t t = 0; t < tokens; t++) {
      own[t][0] = vload(x + t * x_stride + i);
      own[t][1] = vload(x + t * x_stride + i + VW);
    }
#pragma clang loop unroll(full)
    for (size_t r = 0; r < rows; r++) {
      vf left = LOADV(w[r] + i), right = LOADV(w[r] + i + VW);
#pragma clang loop unroll(full)
      for (size_t t = 0; t < tokens; t++) {
        s[r][t][0] = vfma(left, own[t][0], s[r][t][0]);
        s[r][t][sums - 1] = vfma(right, own[t][1], s[r][t][sums - 1]);
      }
    }
  }
}

/// Products y[t · y_stride + r] of rows w[0..<rows] and `tokens` inputs, by accumulators in the order of `dot` if
/// `sums` is 2, and of `dot_four` if it is 1. What lies `ahead` columns on is asked for, and behind the rows' ends
/// `next`.
static inline __attribute__((always_inline)) void NAME(dot_step)(
    float *y, size_t y_stride, const ELEM *const *w, size_t rows, const float *x, size_t x_stride,
    size_t tokens, size_t sums, size_t d, const ELEM *const *next, size_t ahead) {
  vf s[ABREAST][STEP_TOKENS][2];
#pragma clang loop unroll(full)
  for (size_t r = 0; r < rows; r++)
#pragma clang loop unroll(full)
    for (size_t t = 0; t < tokens; t++) s[r][t][0] = s[r][t][1] = vzero();
  NAME(dot_columns)(s, w, rows, x, x_stride, tokens, sums, 0, d - ahead, w, ahead);
  NAME(dot_columns)(s, w, rows, x, x_stride, tokens, sums, d - ahead, d, next, 0);
#pragma clang loop unroll(full)
  for (size_t r = 0; r < rows; r++)
#pragma clang loop unroll(full)
    for (size_t t = 0; t < tokens; t++)
      y[t * y_stride + r] = sums == 1 ? vsum(s[r][t][0]) : vsum_pair(s[r][t][0], s[r][t][1]);
}

/// Columns from..<end of `axpy_step`.
static inline __attribute__((always_inline)) void NAME(axpy_columns)(
    float *acc, const ELEM *const w[ABREAST], const vf scale[ABREAST], size_t from, size_t end,
    const ELEM *const asked[ABREAST], size_t at) {
#pragma clang loop unroll(disable)
  for (size_t i = from; i < end; i += STEP, at += STEP) {
    NAME(ask_step)(asked, ABREAST, at);
    vf left = vload(acc + i), right = vload(acc + i + VW);
#pragma clang loop unroll(full)
    for (size_t r = 0; r < ABREAST; r++) {
      left = vfma(LOADV(w[r] + i), scale[r], left);
      right = vfma(LOADV(w[r] + i + VW), scale[r], right);
    }
    vstore(acc + i, left);
    vstore(acc + i + VW, right);
  }
}

/// Eight down rows into the accumulator, each column's sum in the order of the rows.
static inline void NAME(axpy_step)(float *acc, const ELEM *const w[ABREAST], const float a[ABREAST], size_t d,
                                   const ELEM *const next[ABREAST]) {
  size_t ahead = asked_columns(d);
  vf scale[ABREAST];
#pragma clang loop unroll(full)
  for (size_t r = 0; r < ABREAST; r++) scale[r] = vset(a[r]);
  NAME(axpy_columns)(acc, w, scale, 0, d - ahead, w, ahead);
  NAME(axpy_columns)(acc, w, scale, d - ahead, d, next, 0);
}

/// Down rows that wait until there are eight of them, oldest first.
typedef struct {
  const ELEM *rows[2 * ABREAST];
  float a[2 * ABREAST];
  size_t count;
} NAME(waiting);

static inline void NAME(add_eight)(NAME(waiting) *waiting, float *acc, size_t d,
                                   const ELEM *const next[ABREAST]) {
  NAME(axpy_step)(acc, waiting->rows, waiting->a, d, next);
  waiting->count -= ABREAST;
  for (size_t j = 0; j < waiting->count; j++) {
    waiting->rows[j] = waiting->rows[j + ABREAST];
    waiting->a[j] = waiting->a[j + ABREAST];
  }
}

/// Adds all that wait, fifteen rows at most. Where eight are not full the last one stands in, times zero.
static inline void NAME(add_rest)(NAME(waiting) *waiting, float *acc, size_t d) {
  if (waiting->count == 0) return;
  size_t last = waiting->count - 1, rest = last / ABREAST * ABREAST;
  for (size_t j = waiting->count; j < 2 * ABREAST; j++) {
    waiting->rows[j] = waiting->rows[last];
    waiting->a[j] = 0;
  }
  const ELEM *const *rows = waiting->rows + rest;
  if (rest > 0) NAME(axpy_step)(acc, waiting->rows, waiting->a, d, rows);
  NAME(axpy_step)(acc, rows, waiting->a + rest, d, rows);
}

/// Products of eight rows with the job's vector.
static inline void NAME(dot_eight)(const dejavu_mlp_job *job, float y[ABREAST], const ELEM *const w[ABREAST],
                                   const ELEM *const next[ABREAST]) {
  size_t d = job->d, ahead = asked_columns(d);
  if (crowds_cache(d)) NAME(dot_step)(y, 0, w, ABREAST, job->x, 0, 1, 1, d, next, ahead);
  else NAME(dot_step)(y, 0, w, ABREAST, job->x, 0, 1, 2, d, next, ahead);
}

/// The first rows of the eight neurons from `entry` on; behind the end the last one stands in.
static inline void NAME(eight_rows)(const ELEM *rows[ABREAST], const dejavu_mlp_job *job, size_t entry,
                                    size_t end) {
  for (size_t j = 0; j < ABREAST; j++)
    rows[j] = NAME(asked_row)(job, entry + j < end ? entry + j : end - 1);
}

/// Up products of the `n` neurons from `entry` on whose gates are open.
static inline void NAME(open_ups)(const dejavu_mlp_job *job, size_t entry, size_t n, const float gate[ABREAST],
                                  float up[ABREAST], const ELEM *const rows[ABREAST],
                                  const ELEM *const next[ABREAST]) {
  const ELEM *ups[ABREAST];
  size_t place[ABREAST], open = 0, step = job->row_stride / sizeof(ELEM);
  for (size_t j = 0; j < n; j++) {
    up[j] = 0;
    if (!NAME(is_closed)(job, neuron_at(job, entry + j), gate[j])) place[open] = j, ups[open++] = rows[j] + step;
  }
  if (open == 0) return;
  for (size_t j = open; j < ABREAST; j++) ups[j] = ups[open - 1];
  float products[ABREAST];
  NAME(dot_eight)(job, products, ups, next);
  for (size_t j = 0; j < open; j++) up[place[j]] = products[j];
}

/// Chosen neurons, eight at a time. Down rows are added once eight of them wait, so that what is read next is
/// always known a pass ahead.
static size_t NAME(mlp_in_step)(const dejavu_mlp_job *job, size_t first, size_t count, float *acc) {
  size_t kinds = job->gated ? 3 : 2, read = 0, end = first + count, d = job->d;
  NAME(waiting) waiting = {.count = 0};
  for (size_t entry = first; entry < end; entry += ABREAST) {
    size_t n = end - entry < ABREAST ? end - entry : ABREAST;
    const ELEM *rows[ABREAST], *ahead[ABREAST];
    float gate[ABREAST], up[ABREAST];
    NAME(eight_rows)(rows, job, entry, end);
    NAME(eight_rows)(ahead, job, entry + ABREAST, end);
    int adds = waiting.count >= ABREAST;
    const ELEM *const *next = adds ? waiting.rows : ahead;
    if (job->gated) {
      NAME(dot_eight)(job, gate, rows, rows);
      NAME(open_ups)(job, entry, n, gate, up, rows, next);
    } else {
      NAME(dot_eight)(job, up, rows, next);
    }
    if (adds) NAME(add_eight)(&waiting, acc, d, ahead);
    for (size_t j = 0; j < n; j++) {
      size_t neuron = neuron_at(job, entry + j);
      float a = NAME(finish)(job, neuron, job->gated ? gate[j] : 0, up[j]);
      if (NAME(is_skipped)(job, entry + j, a)) continue;
      waiting.rows[waiting.count] = NAME(bundle_row)(job, entry + j, kinds - 1);
      waiting.a[waiting.count++] = a;
      read++;
    }
  }
  NAME(add_rest)(&waiting, acc, d);
  return read;
}

/// `mlp_rows`; rows that are all read are one stream.
static size_t NAME(mlp_rows_in_step)(const dejavu_mlp_job *job, size_t first, size_t count, float *acc) {
  if (!job->scattered || job->d % STEP > 0)
    return dejavu_table_avx2.rows[TYPE].mlp_rows(job, first, count, acc);
  return NAME(mlp_in_step)(job, first, count, acc);
}

/// Four rows with all tokens. Rows from the second pass on lie in the cache.
static inline void NAME(dot_tokens)(float *y, size_t y_stride, const ELEM *const w[STEP_ROWS], const float *x,
                                    size_t x_stride, size_t tokens, size_t d, const ELEM *const next[STEP_ROWS]) {
  for (size_t t = 0; t < tokens; t += STEP_TOKENS, next = w) {
    float *out = y + t * y_stride;
    const float *own = x + t * x_stride;
    switch (tokens - t) {
      case 1: NAME(dot_step)(out, y_stride, w, STEP_ROWS, own, x_stride, 1, 2, d, next, d); break;
      case 2: NAME(dot_step)(out, y_stride, w, STEP_ROWS, own, x_stride, 2, 2, d, next, d); break;
      default: NAME(dot_step)(out, y_stride, w, STEP_ROWS, own, x_stride, STEP_TOKENS, 2, d, next, d);
    }
  }
}

/// `dot_rows`; one token's rows are one stream.
static void NAME(dot_rows_in_step)(float *y, size_t y_stride, const void *w, size_t w_stride, size_t rows,
                                   const float *x, size_t x_stride, size_t tokens, size_t d) {
  size_t step = w_stride / sizeof(ELEM), r = 0;
  const ELEM *first = w, *own[STEP_ROWS], *next[STEP_ROWS];
  for (; tokens > 1 && d % STEP == 0 && r + STEP_ROWS <= rows; r += STEP_ROWS) {
    int last = r + 2 * STEP_ROWS > rows;
    for (size_t j = 0; j < STEP_ROWS; j++) {
      own[j] = first + (r + j) * step;
      next[j] = last ? own[j] : own[j] + STEP_ROWS * step;
    }
    NAME(dot_tokens)(y + r, y_stride, own, x, x_stride, tokens, d, next);
  }
  if (r < rows)
    dejavu_table_avx2.rows[TYPE].dot_rows(y + r, y_stride, first + r * step, w_stride, rows - r, x, x_stride,
                                          tokens, d);
}
