// Kernels that stream stored rows once: written in the vector vocabulary, included per type with
// ELEM (stored type), LOADV, STOREV and NAME defined.
//
// Measured on a Zen 4 server: what decides their speed is the order and the pace at which lines
// are asked for. Rows are taken strictly in address order and loops are kept short (one line of
// half-precision weights per turn, never unrolled), because a loop that runs too far ahead of the
// hardware prefetcher defeats it: 0.60 of the read bandwidth unrolled, 0.95 so. The first lines of
// the row that comes next are asked for while this one ends.

/// Σ_i w[i] · x[i] in four interleaved sums. During the last `lines` turns one line each of `next`
/// is prefetched into L2.
static inline float NAME(dot)(const ELEM *w, const float *x, size_t d, const ELEM *next,
                              size_t lines) {
  vf s0 = vzero(), s1 = vzero(), s2 = vzero(), s3 = vzero();
  size_t i = 0, quiet = next && lines * TURN < d ? d - lines * TURN : next ? 0 : d;
#pragma clang loop unroll(disable)
  for (; i + TURN <= quiet; i += TURN) {
    s0 = vfma(LOADV(w + i), vload(x + i), s0);
    s1 = vfma(LOADV(w + i + VW), vload(x + i + VW), s1);
    s2 = vfma(LOADV(w + i + 2 * VW), vload(x + i + 2 * VW), s2);
    s3 = vfma(LOADV(w + i + 3 * VW), vload(x + i + 3 * VW), s3);
  }
  size_t shift = lines * TURN < d ? d - lines * TURN : 0;
#pragma clang loop unroll(disable)
  for (; i + TURN <= d; i += TURN) {
    prefetch_span(next + (i - shift), TURN * sizeof(ELEM));
    s0 = vfma(LOADV(w + i), vload(x + i), s0);
    s1 = vfma(LOADV(w + i + VW), vload(x + i + VW), s1);
    s2 = vfma(LOADV(w + i + 2 * VW), vload(x + i + 2 * VW), s2);
    s3 = vfma(LOADV(w + i + 3 * VW), vload(x + i + 3 * VW), s3);
  }
  for (; i < d; i += VW) s0 = vfma(LOADV(w + i), vload(x + i), s0);
  return vsum(vadd(vadd(s0, s1), vadd(s2, s3)));
}

/// `dot` that prefetches a row of `p0` and then one of `p1` into L2, two lines for each that it takes: one
/// row after the other, which comes faster than both side by side.
static inline float NAME(dot_fetching)(const ELEM *w, const float *x, size_t d, const ELEM *p0,
                                       const ELEM *p1) {
  vf s0 = vzero(), s1 = vzero(), s2 = vzero(), s3 = vzero();
  size_t half = d / 2 / TURN * TURN, i = 0;
  const ELEM *asked = p0;
#pragma clang loop unroll(disable)
  for (; i + TURN <= d; i += TURN, asked += 2 * TURN) {
    if (i == half) asked = p1;
    prefetch_span(asked, 2 * TURN * sizeof(ELEM));
    s0 = vfma(LOADV(w + i), vload(x + i), s0);
    s1 = vfma(LOADV(w + i + VW), vload(x + i + VW), s1);
    s2 = vfma(LOADV(w + i + 2 * VW), vload(x + i + 2 * VW), s2);
    s3 = vfma(LOADV(w + i + 3 * VW), vload(x + i + 3 * VW), s3);
  }
  for (; i < d; i += VW) s0 = vfma(LOADV(w + i), vload(x + i), s0);
  return vsum(vadd(vadd(s0, s1), vadd(s2, s3)));
}

/// `dot` of one row with two tokens at once; each token's sum is in `dot`'s order. One line of
/// `next` is prefetched for each line taken.
static inline void NAME(dot_pair)(float y[2], const ELEM *w, const float *x, size_t x_stride,
                                  size_t d, const ELEM *next) {
  const float *x1 = x + x_stride;
  vf s[4] = {vzero(), vzero(), vzero(), vzero()}, r[4] = {vzero(), vzero(), vzero(), vzero()};
  size_t i = 0;
#pragma clang loop unroll(disable)
  for (; i + TURN <= d; i += TURN) {
    prefetch_span(next + i, TURN * sizeof(ELEM));
#pragma clang loop unroll(full)
    for (size_t j = 0; j < 4; j++) {
      vf row = LOADV(w + i + j * VW);
      s[j] = vfma(row, vload(x + i + j * VW), s[j]);
      r[j] = vfma(row, vload(x1 + i + j * VW), r[j]);
    }
  }
  for (; i < d; i += VW) {
    vf row = LOADV(w + i);
    s[0] = vfma(row, vload(x + i), s[0]);
    r[0] = vfma(row, vload(x1 + i), r[0]);
  }
  y[0] = vsum(vadd(vadd(s[0], s[1]), vadd(s[2], s[3])));
  y[1] = vsum(vadd(vadd(r[0], r[1]), vadd(r[2], r[3])));
}

static void NAME(dot_rows)(float *y, size_t y_stride, const void *w, size_t w_stride, size_t rows,
                           const float *x, size_t x_stride, size_t tokens, size_t d) {
  for (size_t r = 0; r < rows; r++) {
    const ELEM *row = (const ELEM *)((const char *)w + r * w_stride);
    const ELEM *next = r + 1 < rows ? (const ELEM *)((const char *)row + w_stride) : row;
    size_t t = 0;
    for (; t + 2 <= tokens; t += 2) {
      float two[2];
      NAME(dot_pair)(two, row, x + t * x_stride, x_stride, d, t == 0 ? next : row);
      y[t * y_stride + r] = two[0];
      y[(t + 1) * y_stride + r] = two[1];
    }
    if (t == tokens) continue;
    y[t * y_stride + r] = NAME(dot)(row, x + t * x_stride, d, next, KICK_LINES);
  }
}

static inline void NAME(axpy)(float *acc, const ELEM *w, float a, size_t d, const ELEM *next,
                              size_t lines) {
  vf scale = vset(a);
  size_t i = 0, quiet = next && lines * TURN < d ? d - lines * TURN : next ? 0 : d;
#pragma clang loop unroll(disable)
  for (; i + TURN <= quiet; i += TURN) {
    vf s0 = vfma(LOADV(w + i), scale, vload(acc + i));
    vf s1 = vfma(LOADV(w + i + VW), scale, vload(acc + i + VW));
    vf s2 = vfma(LOADV(w + i + 2 * VW), scale, vload(acc + i + 2 * VW));
    vf s3 = vfma(LOADV(w + i + 3 * VW), scale, vload(acc + i + 3 * VW));
    vstore(acc + i, s0);
    vstore(acc + i + VW, s1);
    vstore(acc + i + 2 * VW, s2);
    vstore(acc + i + 3 * VW, s3);
  }
  size_t shift = lines * TURN < d ? d - lines * TURN : 0;
#pragma clang loop unroll(disable)
  for (; i + TURN <= d; i += TURN) {
    prefetch_span(next + (i - shift), TURN * sizeof(ELEM));
    vf s0 = vfma(LOADV(w + i), scale, vload(acc + i));
    vf s1 = vfma(LOADV(w + i + VW), scale, vload(acc + i + VW));
    vf s2 = vfma(LOADV(w + i + 2 * VW), scale, vload(acc + i + 2 * VW));
    vf s3 = vfma(LOADV(w + i + 3 * VW), scale, vload(acc + i + 3 * VW));
    vstore(acc + i, s0);
    vstore(acc + i + VW, s1);
    vstore(acc + i + 2 * VW, s2);
    vstore(acc + i + 3 * VW, s3);
  }
  for (; i < d; i += VW) vstore(acc + i, vfma(LOADV(w + i), scale, vload(acc + i)));
}

static void NAME(axpy_rows)(float *acc, const void *w, size_t w_stride, const float *a,
                            size_t rows, size_t d) {
  for (size_t r = 0; r < rows; r++) {
    const ELEM *row = (const ELEM *)((const char *)w + r * w_stride);
    const ELEM *next = r + 1 < rows ? (const ELEM *)((const char *)row + w_stride) : row;
    NAME(axpy)(acc, row, a[r], d, next, KICK_LINES);
  }
}

static inline const ELEM *NAME(bundle_row)(const dejavu_mlp_job *job, size_t entry, size_t row) {
  size_t neuron = neuron_at(job, entry);
  size_t rows = job->gated ? 3 : 2;
  return (const ELEM *)((const char *)job->bundle + (neuron * rows + row) * job->row_stride);
}

/// Whether a neuron with this activation leaves its down row unread.
static inline int NAME(is_skipped)(const dejavu_mlp_job *job, size_t entry, float a) {
  if (!job->skips) return 0;
  size_t neuron = neuron_at(job, entry);
  float size = job->down_norms ? a * job->down_norms[neuron] : a;
  return size <= job->threshold && size >= -job->threshold;
}

/// Bias, activation and gate of one neuron, given the products of its rows.
static inline float NAME(finish)(const dejavu_mlp_job *job, size_t neuron, float gate, float up) {
  up += job->up_bias ? job->up_bias[neuron] : 0;
  if (!job->gated) return activate_one(up, job->activation);
  gate += job->gate_bias ? job->gate_bias[neuron] : 0;
  return activate_one(gate, job->activation) * up;
}

/// Whether a gate's product closes it for good, which makes a neuron zero whatever its up row says.
static inline int NAME(is_closed)(const dejavu_mlp_job *job, size_t neuron, float gate) {
  gate += job->gate_bias ? job->gate_bias[neuron] : 0;
  return job->skips && activate_one(gate, job->activation) == 0;
}

/// act(up · x + b) of one neuron, or act(gate · x + b_g) · (up · x + b_u), while lines of two
/// other rows are prefetched.
static inline float NAME(neuron)(const dejavu_mlp_job *job, size_t entry, const ELEM *p0,
                                 const ELEM *p1) {
  size_t neuron = neuron_at(job, entry), d = job->d;
  const ELEM *row = NAME(bundle_row)(job, entry, 0);
  float first = NAME(dot_fetching)(row, job->x, d, p0, p1);
  if (!job->gated) return NAME(finish)(job, neuron, 0, first);
  if (NAME(is_closed)(job, neuron, first)) return 0;
  size_t next = job->row_stride / sizeof(ELEM);
  return NAME(finish)(job, neuron, first, NAME(dot_fetching)(row + next, job->x, d, p0 + next, row));
}

/// The same as part of one stream; `down` is the row that follows the neuron's own.
static inline float NAME(neuron_streaming)(const dejavu_mlp_job *job, size_t entry,
                                           const ELEM *down, size_t lines) {
  size_t neuron = neuron_at(job, entry), d = job->d;
  const ELEM *row = NAME(bundle_row)(job, entry, 0);
  if (!job->gated)
    return NAME(finish)(job, neuron, 0, NAME(dot)(row, job->x, d, down, lines));
  const ELEM *up = row + job->row_stride / sizeof(ELEM);
  float gate = NAME(dot)(row, job->x, d, up, lines);
  return NAME(finish)(job, neuron, gate, NAME(dot)(up, job->x, d, down, lines));
}

/// Every row in address order, as one stream.
static size_t NAME(mlp_streaming)(const dejavu_mlp_job *job, size_t first, size_t count,
                                  float *acc) {
  size_t down = job->gated ? 2 : 1, read = 0, end = first + count, d = job->d;
  for (size_t entry = first; entry < end; entry++) {
    const ELEM *row = NAME(bundle_row)(job, entry, down);
    const ELEM *next = entry + 1 < end ? NAME(bundle_row)(job, entry + 1, 0) : row;
    float a = NAME(neuron_streaming)(job, entry, row, KICK_LINES);
    if (NAME(is_skipped)(job, entry, a)) continue;
    NAME(axpy)(acc, row, a, d, next, KICK_LINES);
    read++;
  }
  return read;
}

/// Columns that are taken while one row of four is asked for.
static inline size_t NAME(quarter)(size_t d) { return (d / (2 * VW) + 3) / 4 * (2 * VW); }

/// Four rows in one pass over the accumulator, the sums of four `axpy`s in their order. The rows of
/// `ahead` are prefetched one after the other, a line for each line taken.
static inline void NAME(axpy_four)(float *acc, const ELEM *const w[4], const float a[4], size_t d,
                                   const ELEM *const ahead[4]) {
  vf a0 = vset(a[0]), a1 = vset(a[1]), a2 = vset(a[2]), a3 = vset(a[3]);
  size_t i = 0, quarter = NAME(quarter)(d);
  for (size_t row = 0; row < 4; row++) {
    const ELEM *asked = ahead[row];
    size_t end = (row + 1) * quarter < d ? (row + 1) * quarter : d;
#pragma clang loop unroll(disable)
    for (; i + 2 * VW <= end; i += 2 * VW, asked += 8 * VW) {
      prefetch_span(asked, 8 * VW * sizeof(ELEM));
      vf s0 = vfma(LOADV(w[0] + i), a0, vload(acc + i));
      vf s1 = vfma(LOADV(w[0] + i + VW), a0, vload(acc + i + VW));
      s0 = vfma(LOADV(w[1] + i), a1, s0);
      s1 = vfma(LOADV(w[1] + i + VW), a1, s1);
      s0 = vfma(LOADV(w[2] + i), a2, s0);
      s1 = vfma(LOADV(w[2] + i + VW), a2, s1);
      vstore(acc + i, vfma(LOADV(w[3] + i), a3, s0));
      vstore(acc + i + VW, vfma(LOADV(w[3] + i + VW), a3, s1));
    }
  }
  for (; i < d; i += VW) {
    vf sum = vfma(LOADV(w[0] + i), a0, vload(acc + i));
    sum = vfma(LOADV(w[1] + i), a1, sum);
    sum = vfma(LOADV(w[2] + i), a2, sum);
    vstore(acc + i, vfma(LOADV(w[3] + i), a3, sum));
  }
}

/// Down rows on their way into L2 and then into the accumulator, oldest first.
typedef struct {
  const ELEM *rows[8];
  float a[8];
  size_t count;
} NAME(pending);

static inline void NAME(drop_four)(NAME(pending) *pending) {
  pending->count -= 4;
  for (size_t j = 0; j < pending->count; j++) {
    pending->rows[j] = pending->rows[j + 4];
    pending->a[j] = pending->a[j + 4];
  }
}

static inline void NAME(drop_rest)(const NAME(pending) *pending, float *acc, size_t d) {
  for (size_t j = 0; j < pending->count; j++)
    NAME(axpy)(acc, pending->rows[j], pending->a[j], d, NULL, 0);
}

/// The row of a neuron that is asked for, and with it what else it needs and would wait for.
static inline const ELEM *NAME(asked_row)(const dejavu_mlp_job *job, size_t entry) {
  if (job->up_bias)
    __builtin_prefetch(job->up_bias + neuron_at(job, entry), 0, 3);
  return NAME(bundle_row)(job, entry, 0);
}

/// Rows here and there. Whatever is multiplied was prefetched into L2 before: up rows while the
/// rows before them are read, a down row while the neurons after its own are, so that memory is
/// kept busy by one prefetch for each line taken and no burst of them.
static size_t NAME(mlp_scattered)(const dejavu_mlp_job *job, size_t first, size_t count,
                                  float *acc) {
  enum { AHEAD = 4, FARTHEST = 8 };
  size_t down = job->gated ? 2 : 1, read = 0, end = first + count, d = job->d;
  size_t fetched = first;
  const ELEM *fresh = NULL;
  NAME(pending) pending = {.count = 0};
  for (size_t entry = first; entry < end; entry++) {
    const ELEM *idle = NAME(bundle_row)(job, entry, 0), *ahead = idle;
    const ELEM *also = fresh ? fresh : idle;
    if (fetched <= entry) fetched = entry + 1;
    if (fetched < end && fetched <= entry + AHEAD) {
      if (job->prefetches_down) also = NAME(bundle_row)(job, fetched, down);
      ahead = NAME(asked_row)(job, fetched++);
    }
    float a = NAME(neuron)(job, entry, ahead, also);
    fresh = NULL;
    if (NAME(is_skipped)(job, entry, a)) continue;
    fresh = NAME(bundle_row)(job, entry, down);
    pending.rows[pending.count] = fresh;
    pending.a[pending.count++] = a;
    read++;
    if (pending.count < 5) continue;
    const ELEM *next[4];
    for (size_t j = 0; j < 4; j++) {
      int more = fetched < end && fetched <= entry + FARTHEST;
      next[j] = more ? NAME(asked_row)(job, fetched) : idle;
      if (job->prefetches_down && j < 3)
        next[++j] = more ? NAME(bundle_row)(job, fetched, down) : idle;
      fetched += (size_t)more;
    }
    NAME(axpy_four)(acc, pending.rows, pending.a, d, next);
    NAME(drop_four)(&pending);
  }
  NAME(drop_rest)(&pending, acc, d);
  return read;
}

/// Four rows times x in one pass, each sum in `dot`'s order but for its two accumulators. The rows of
/// `ahead` and, if there are any, of `also` are prefetched one after the other.
static inline void NAME(dot_four)(float y[4], const ELEM *const w[4], const float *x, size_t d,
                                  const ELEM *const ahead[4], const ELEM *const *also) {
  vf s[4][2];
  for (size_t j = 0; j < 4; j++) s[j][0] = s[j][1] = vzero();
  size_t i = 0, quarter = NAME(quarter)(d);
  for (size_t row = 0; row < 4; row++) {
    const ELEM *asked = ahead[row], *other = also ? also[row] : NULL;
    size_t end = (row + 1) * quarter < d ? (row + 1) * quarter : d;
#pragma clang loop unroll(disable)
    for (; i + 2 * VW <= end; i += 2 * VW) {
      vf x0 = vload(x + i), x1 = vload(x + i + VW);
      prefetch_span(asked, 8 * VW * sizeof(ELEM));
      asked += 8 * VW;
      if (other) {
        prefetch_span(other, 8 * VW * sizeof(ELEM));
        other += 8 * VW;
      }
#pragma clang loop unroll(full)
      for (size_t j = 0; j < 4; j++) {
        s[j][0] = vfma(LOADV(w[j] + i), x0, s[j][0]);
        s[j][1] = vfma(LOADV(w[j] + i + VW), x1, s[j][1]);
      }
    }
  }
  for (; i < d; i += VW)
    for (size_t j = 0; j < 4; j++) s[j][0] = vfma(LOADV(w[j] + i), vload(x + i), s[j][0]);
  for (size_t j = 0; j < 4; j++) y[j] = vsum(vadd(s[j][0], s[j][1]));
}

/// The first rows of the four neurons from `entry` on; behind the end the last one stands in.
static inline void NAME(first_rows)(const ELEM *rows[4], const dejavu_mlp_job *job, size_t entry,
                                    size_t end) {
  for (size_t j = 0; j < 4; j++) rows[j] = NAME(asked_row)(job, entry + j < end ? entry + j : end - 1);
}

/// Four neurons at a time, for rows so wide that vector and accumulator crowd the L1 cache. A down row
/// is asked for while the next four are multiplied, and theirs while four of them are added; where
/// none are, with the down rows.
static size_t NAME(mlp_quads)(const dejavu_mlp_job *job, size_t first, size_t count, float *acc) {
  size_t kinds = job->gated ? 3 : 2, read = 0, end = first + count, d = job->d;
  size_t step = job->row_stride / sizeof(ELEM), asked = 0;
  NAME(pending) pending = {.count = 0};
  for (size_t entry = first; entry < end; entry += 4) {
    size_t n = end - entry < 4 ? end - entry : 4;
    const ELEM *rows[4], *ahead[4], *fresh[4], *up_rows[4];
    float gate[4], up[4];
    int adds = pending.count >= 4;
    NAME(first_rows)(rows, job, entry, end);
    NAME(first_rows)(ahead, job, entry + 4, end);
    for (size_t j = 0; j < 4; j++) {
      fresh[j] = asked + j < pending.count ? pending.rows[asked + j] : rows[j];
      up_rows[j] = rows[j] + step;
    }
    NAME(dot_four)(gate, rows, job->x, d, fresh, adds ? NULL : ahead);
    if (job->gated) {
      for (size_t j = 0; j < 4; j++) ahead[j] += step;
      NAME(dot_four)(up, up_rows, job->x, d, ahead, NULL);
      for (size_t j = 0; j < 4; j++) ahead[j] -= step;
    }
    if (adds) {
      NAME(axpy_four)(acc, pending.rows, pending.a, d, ahead);
      NAME(drop_four)(&pending);
    }
    asked = pending.count;
    for (size_t j = 0; j < n; j++) {
      size_t neuron = neuron_at(job, entry + j);
      float a = NAME(finish)(job, neuron, gate[j], job->gated ? up[j] : gate[j]);
      if (NAME(is_skipped)(job, entry + j, a)) continue;
      pending.rows[pending.count] = NAME(bundle_row)(job, entry + j, kinds - 1);
      pending.a[pending.count++] = a;
      read++;
    }
  }
  if (pending.count >= 4) {
    NAME(axpy_four)(acc, pending.rows, pending.a, d, pending.rows);
    NAME(drop_four)(&pending);
  }
  NAME(drop_rest)(&pending, acc, d);
  return read;
}

static size_t NAME(mlp_rows)(const dejavu_mlp_job *job, size_t first, size_t count, float *acc) {
  if (crowds_cache(job->d)) return NAME(mlp_quads)(job, first, count, acc);
  return job->scattered ? NAME(mlp_scattered)(job, first, count, acc)
                        : NAME(mlp_streaming)(job, first, count, acc);
}
