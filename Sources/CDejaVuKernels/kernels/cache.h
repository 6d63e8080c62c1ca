// Kernels over cached keys and values, and conversions; included per type like stream.h.

/// What is read DEJAVU_CACHE_AHEAD bytes behind `at`: cached rows that end at `end`, then what is `next`. Rows
/// of a head are so short that the loops over them run ahead of the hardware prefetcher, and a head is so
/// short that what lies behind its end must not be asked for: at 128 positions that is a third of its bytes.
static inline const char *NAME(cache_ahead)(const ELEM *at, const ELEM *end, const void *next) {
  ptrdiff_t left = (const char *)end - (const char *)at;
  if (left > DEJAVU_CACHE_AHEAD) return (const char *)at + DEJAVU_CACHE_AHEAD;
  return next ? (const char *)next + (DEJAVU_CACHE_AHEAD - left) : (const char *)at;
}

static float NAME(scores)(float *scores, const float *q, const void *keys, size_t count, size_t h,
                          float scale, float slope, const void *next) {
  const ELEM *k = (const ELEM *)keys;
  float greatest = -INFINITY;
  size_t s = 0;
  for (; s + VW <= count; s += VW) {
    vf rows[VW];
    const char *ahead = NAME(cache_ahead)(k + s * h, k + count * h, next);
    for (size_t r = 0; r < VW; r++) {
      rows[r] = vzero();
      prefetch_span(ahead + r * h * sizeof(ELEM), h * sizeof(ELEM));
      for (size_t i = 0; i < h; i += VW)
        rows[r] = vfma(LOADV(k + (s + r) * h + i), vload(q + i), rows[r]);
    }
    vstore(scores + s, vmul(vsums(rows), vset(scale)));
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

static void NAME(weigh)(float *out, const float *p, const void *values, size_t count, size_t h,
                        const void *next) {
  for (size_t i = 0; i < h; i += 4 * VW) {
    size_t lanes = (h - i) / VW < 4 ? (h - i) / VW : 4;
    vf even[4] = {vzero(), vzero(), vzero(), vzero()};
    vf odd[4] = {vzero(), vzero(), vzero(), vzero()};
    const ELEM *v = (const ELEM *)values + i;
    size_t s = 0;
    if (lanes == 4) {
      for (; s + 2 <= count; s += 2, v += 2 * h) {
        vf p0 = vset(p[s]), p1 = vset(p[s + 1]);
        const char *ahead = NAME(cache_ahead)(v, (const ELEM *)values + count * h, next);
        prefetch_span(ahead, 4 * VW * sizeof(ELEM));
        prefetch_span(ahead + h * sizeof(ELEM), 4 * VW * sizeof(ELEM));
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
