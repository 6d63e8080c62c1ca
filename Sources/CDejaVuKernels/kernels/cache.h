// Kernels over cached keys and values, and conversions; included per type like stream.h.

/// Asks for what lies 4 KB behind cached rows: rows of a head are so short that the loops
/// over them run ahead of the hardware prefetcher.
static inline void NAME(fetch_cache)(const ELEM *rows, size_t lanes) {
  enum { CACHE_AHEAD = 4096 };
  for (size_t byte = 0; byte < lanes * sizeof(ELEM); byte += 64)
    __builtin_prefetch((const char *)rows + CACHE_AHEAD + byte, 0, 3);
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
      NAME(fetch_cache)(k + (s + r) * h, h);
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
        NAME(fetch_cache)(v, 4 * VW);
        NAME(fetch_cache)(v + h, 4 * VW);
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
