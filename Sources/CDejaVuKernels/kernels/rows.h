// Kernels over stored rows, written once in the vector vocabulary.
// Included three times by each isa_*.c, with ELEM (stored type), LOADV, STOREV and NAME defined.

/// Σ_i w[i] · x[i] in four interleaved sums; `ahead` is prefetched into L2 line by line.
static inline float NAME(dot)(const ELEM *w, const float *x, size_t d, const ELEM *ahead) {
  vf s0 = vzero(), s1 = vzero(), s2 = vzero(), s3 = vzero();
  size_t i = 0;
  for (; i + 4 * VW <= d; i += 4 * VW) {
    if (ahead) prefetch_span(ahead + i, 4 * VW * sizeof(ELEM));
    s0 = vfma(LOADV(w + i), vload(x + i), s0);
    s1 = vfma(LOADV(w + i + VW), vload(x + i + VW), s1);
    s2 = vfma(LOADV(w + i + 2 * VW), vload(x + i + 2 * VW), s2);
    s3 = vfma(LOADV(w + i + 3 * VW), vload(x + i + 3 * VW), s3);
  }
  for (; i < d; i += VW) s0 = vfma(LOADV(w + i), vload(x + i), s0);
  return vsum(vadd(vadd(s0, s1), vadd(s2, s3)));
}

/// `dot` of one row with four tokens at once; each token's sum is in `dot`'s order.
static inline void NAME(dot_by_four)(float y[4], const ELEM *w, const float *x, size_t x_stride,
                                     size_t d) {
  vf s[4][4];
  for (int t = 0; t < 4; t++)
    for (int j = 0; j < 4; j++) s[t][j] = vzero();
  size_t i = 0;
  for (; i + 4 * VW <= d; i += 4 * VW)
    for (int j = 0; j < 4; j++) {
      vf row = LOADV(w + i + (size_t)j * VW);
      for (int t = 0; t < 4; t++)
        s[t][j] = vfma(row, vload(x + (size_t)t * x_stride + i + (size_t)j * VW), s[t][j]);
    }
  for (; i < d; i += VW) {
    vf row = LOADV(w + i);
    for (int t = 0; t < 4; t++) s[t][0] = vfma(row, vload(x + (size_t)t * x_stride + i), s[t][0]);
  }
  for (int t = 0; t < 4; t++) y[t] = vsum(vadd(vadd(s[t][0], s[t][1]), vadd(s[t][2], s[t][3])));
}

static void NAME(dot_rows)(float *y, size_t y_stride, const void *w, size_t w_stride, size_t rows,
                           const float *x, size_t x_stride, size_t tokens, size_t d) {
  for (size_t r = 0; r < rows; r++) {
    const ELEM *row = (const ELEM *)((const char *)w + r * w_stride);
    size_t t = 0;
    for (; t + 4 <= tokens; t += 4) {
      float four[4];
      NAME(dot_by_four)(four, row, x + t * x_stride, x_stride, d);
      for (size_t j = 0; j < 4; j++) y[(t + j) * y_stride + r] = four[j];
    }
    for (; t < tokens; t++) y[t * y_stride + r] = NAME(dot)(row, x + t * x_stride, d, NULL);
  }
}

static inline void NAME(axpy)(float *acc, const ELEM *w, float a, size_t d, const ELEM *ahead) {
  vf scale = vset(a);
  size_t i = 0;
  for (; i + 2 * VW <= d; i += 2 * VW) {
    if (ahead) prefetch_span(ahead + i, 2 * VW * sizeof(ELEM));
    vstore(acc + i, vfma(LOADV(w + i), scale, vload(acc + i)));
    vstore(acc + i + VW, vfma(LOADV(w + i + VW), scale, vload(acc + i + VW)));
  }
  for (; i < d; i += VW) vstore(acc + i, vfma(LOADV(w + i), scale, vload(acc + i)));
}

/// Four rows in one pass over the accumulator; the same sums in the same order as four `axpy`s.
static inline void NAME(axpy_four)(float *acc, const ELEM *const w[4], const float a[4], size_t d) {
  vf a0 = vset(a[0]), a1 = vset(a[1]), a2 = vset(a[2]), a3 = vset(a[3]);
  for (size_t i = 0; i < d; i += VW) {
    vf sum = vfma(LOADV(w[0] + i), a0, vload(acc + i));
    sum = vfma(LOADV(w[1] + i), a1, sum);
    sum = vfma(LOADV(w[2] + i), a2, sum);
    vstore(acc + i, vfma(LOADV(w[3] + i), a3, sum));
  }
}

static void NAME(axpy_rows)(float *acc, const void *w, size_t w_stride, const float *a,
                            size_t rows, size_t d) {
  size_t r = 0;
  if (takes_rows_together(d))
    for (; r + 4 <= rows; r += 4) {
      const ELEM *four[4];
      for (size_t j = 0; j < 4; j++)
        four[j] = (const ELEM *)((const char *)w + (r + j) * w_stride);
      NAME(axpy_four)(acc, four, a + r, d);
    }
  for (; r < rows; r++)
    NAME(axpy)(acc, (const ELEM *)((const char *)w + r * w_stride), a[r], d, NULL);
}

static inline const ELEM *NAME(bundle_row)(const dejavu_mlp_job *job, size_t entry, size_t row) {
  size_t neuron = job->list ? (size_t)job->list[entry] : entry;
  size_t rows = job->gated ? 3 : 2;
  return (const ELEM *)((const char *)job->bundle + (neuron * rows + row) * job->row_stride);
}

/// act(up · x + b) of one neuron, or act(gate · x + b_g) · (up · x + b_u).
static inline float NAME(neuron)(const dejavu_mlp_job *job, size_t entry, const ELEM *ahead) {
  size_t neuron = job->list ? (size_t)job->list[entry] : entry;
  float up_bias = job->up_bias ? job->up_bias[neuron] : 0;
  if (!job->gated) {
    float z = NAME(dot)(NAME(bundle_row)(job, entry, 0), job->x, job->d, ahead);
    return activate_one(z + up_bias, job->activation);
  }
  float gate = NAME(dot)(NAME(bundle_row)(job, entry, 0), job->x, job->d, ahead);
  if (job->gate_bias) gate += job->gate_bias[neuron];
  gate = activate_one(gate, job->activation);
  // A gate that is closed for good makes the product zero whatever the up row says.
  if (job->skips && gate == 0) return 0;
  const ELEM *up_ahead =
      ahead ? (const ELEM *)((const char *)ahead + job->row_stride) : NULL;
  return gate * (NAME(dot)(NAME(bundle_row)(job, entry, 1), job->x, job->d, up_ahead) + up_bias);
}

/// Down rows waiting to be added: four at a time where vector and accumulator crowd the L1 cache.
typedef struct {
  const ELEM *rows[4];
  float a[4];
  size_t count;
} NAME(pending);

static inline void NAME(flush)(NAME(pending) *pending, float *acc, size_t d) {
  if (pending->count == 4) {
    NAME(axpy_four)(acc, pending->rows, pending->a, d);
  } else {
    for (size_t j = 0; j < pending->count; j++)
      NAME(axpy)(acc, pending->rows[j], pending->a[j], d, NULL);
  }
  pending->count = 0;
}

static size_t NAME(mlp_rows)(const dejavu_mlp_job *job, size_t first, size_t count, float *acc) {
  enum { AHEAD = 4 };
  size_t down = job->gated ? 2 : 1, read = 0, end = first + count, d = job->d;
  NAME(pending) pending = {.count = 0};
  size_t batch = takes_rows_together(d) || job->scattered ? 4 : 1;
  for (size_t entry = first; entry < end; entry++) {
    const ELEM *ahead = NULL;
    if (job->scattered && entry + AHEAD < end) {
      ahead = NAME(bundle_row)(job, entry + AHEAD, 0);
      if (job->prefetches_down)
        prefetch_row(NAME(bundle_row)(job, entry + AHEAD, down), job->row_stride);
    }
    float a = NAME(neuron)(job, entry, ahead);
    if (job->skips && a <= job->threshold && a >= -job->threshold) continue;
    const ELEM *row = NAME(bundle_row)(job, entry, down);
    if (job->scattered && !job->prefetches_down) prefetch_row(row, job->row_stride);
    pending.rows[pending.count] = row;
    pending.a[pending.count++] = a;
    read++;
    if (pending.count == batch) NAME(flush)(&pending, acc, d);
  }
  NAME(flush)(&pending, acc, d);
  return read;
}

static float NAME(scores)(float *scores, const float *q, const void *keys, size_t count, size_t h,
                          float scale, float slope) {
  const ELEM *k = (const ELEM *)keys;
  float greatest = -INFINITY;
  size_t s = 0;
  for (; s + VW <= count; s += VW) {
    vf rows[VW];
    for (size_t r = 0; r < VW; r++) {
      rows[r] = vzero();
      for (size_t i = 0; i < h; i += VW)
        rows[r] = vfma(LOADV(k + (s + r) * h + i), vload(q + i), rows[r]);
    }
    vtranspose(rows);
    for (size_t step = VW / 2; step > 0; step /= 2)
      for (size_t r = 0; r < step; r++) rows[r] = vadd(rows[r], rows[r + step]);
    vstore(scores + s, vmul(rows[0], vset(scale)));
  }
  for (; s < count; s++) {
    vf sum = vzero();
    for (size_t i = 0; i < h; i += VW) sum = vfma(LOADV(k + s * h + i), vload(q + i), sum);
    scores[s] = vsum(sum) * scale;
  }
  for (s = 0; s < count; s++) {
    scores[s] += slope * (float)s;
    greatest = scores[s] > greatest ? scores[s] : greatest;
  }
  return greatest;
}

static void NAME(weigh)(float *out, const float *p, const void *values, size_t count, size_t h) {
  for (size_t i = 0; i < h; i += 4 * VW) {
    size_t lanes = (h - i) / VW < 4 ? (h - i) / VW : 4;
    vf even[4] = {vzero(), vzero(), vzero(), vzero()};
    vf odd[4] = {vzero(), vzero(), vzero(), vzero()};
    const ELEM *v = (const ELEM *)values + i;
    size_t s = 0;
    if (lanes == 4) {
      for (; s + 2 <= count; s += 2, v += 2 * h) {
        vf p0 = vset(p[s]), p1 = vset(p[s + 1]);
        for (size_t j = 0; j < 4; j++) {
          even[j] = vfma(LOADV(v + j * VW), p0, even[j]);
          odd[j] = vfma(LOADV(v + h + j * VW), p1, odd[j]);
        }
      }
    }
    for (; s < count; s++, v += h)
      for (size_t j = 0; j < lanes; j++) even[j] = vfma(LOADV(v + j * VW), vset(p[s]), even[j]);
    for (size_t j = 0; j < lanes; j++) vstore(out + i + j * VW, vadd(even[j], odd[j]));
  }
}

static void NAME(widen)(float *out, const void *in, size_t count) {
  const ELEM *p = (const ELEM *)in;
  size_t i = 0;
  for (; i + VW <= count; i += VW) vstore(out + i, LOADV(p + i));
  if (i == count) return;
  ELEM rest[VW] = {0};
  float wide[VW];
  memcpy(rest, p + i, (count - i) * sizeof(ELEM));
  vstore(wide, LOADV(rest));
  memcpy(out + i, wide, (count - i) * sizeof(float));
}

static void NAME(narrow)(void *out, const float *in, size_t count) {
  ELEM *p = (ELEM *)out;
  size_t i = 0;
  for (; i + VW <= count; i += VW) STOREV(p + i, vload(in + i));
  if (i == count) return;
  float rest[VW] = {0};
  ELEM narrowed[VW];
  memcpy(rest, in + i, (count - i) * sizeof(float));
  STOREV(narrowed, vload(rest));
  memcpy(p + i, narrowed, (count - i) * sizeof(ELEM));
}
