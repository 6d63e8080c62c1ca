// Coded rows one code at a time: the plain version, with the roundings of the others.

#define CODED_INLINE static inline __attribute__((always_inline))

/// Rounds n numbers with a step that they share; NaN where one is infinite or NaN.
CODED_INLINE float round_some(int16_t *q, const float *x, size_t n, float most) {
  float greatest = 0, spoilt = 0;
  for (size_t i = 0; i < n; i++) {
    greatest = vmax(fabsf(x[i]), greatest);
    spoilt += x[i] * 0;
  }
  if (!(greatest > 1e-33f)) greatest = 0;
  float inverse = greatest > 0 ? most / greatest : 0;
  for (size_t i = 0; i < n; i++)
    q[i] = spoilt == 0 ? (int16_t)rintf(x[i] * inverse) : 0;
  return greatest / most + spoilt;
}

static void kernel_coded_round(void *out, const float *x, size_t d, int32_t format) {
  coded_shape s = coded_shape_of(format, d);
  coded_vector v = coded_vector_at(out, &s);
  int16_t *q = out;
  for (size_t g = 0; g < s.groups; g++) {
    float lanes[CODED_BLOCK] = {0}, sum = 0;
    size_t group = (size_t)s.group, first = g * group;
    if (first < d)
      memcpy(lanes, x + first, (d - first < group ? d - first : group) * sizeof(float));
    float step = round_some(q + first, lanes, group, coded_most(&s));
    for (size_t i = 0; i < group; i++) sum += q[first + i];
    ((float *)v.steps)[g] = step;
    ((float *)v.sums)[g] = -step * sum;
  }
}

CODED_INLINE void dot_some(float y[], const uint8_t *const rows[], const coded_vector *x,
                           const coded_shape *s, coded_asks asks, int32_t bits, int32_t group,
                           int narrow, size_t n) {
  (void)bits, (void)narrow;
  ask_for_rest(&asks, s, n);
  const int16_t *q = (const int16_t *)(const void *)x->q;
  for (size_t r = 0; r < n; r++) {
    y[r] = 0;
    for (size_t g = 0; g < s->groups; g++) {
      int32_t sum = 0;
      for (size_t c = g * (size_t)group; c < (g + 1) * (size_t)group; c++)
        sum += coded_code(rows[r], s, c) * q[c];
      y[r] += coded_scale(rows[r], s, g) *
              ((float)sum * x->steps[g] + coded_zero(rows[r], s, g) * x->sums[g]);
    }
  }
}

CODED_INLINE void add_some(coded_sum *sum, const uint8_t *const rows[], const float a[],
                           coded_asks asks, size_t fours, const coded_shape *s, int32_t bits,
                           int32_t group, int narrow) {
  (void)bits, (void)narrow;
  size_t n = fours * CODED_QUAD;
  ask_for_rest(&asks, s, n);
  for (size_t g = sum->first / (size_t)group; g * (size_t)group < sum->end; g++) {
    float factors[CODED_OCTET], offset = 0;
    int16_t q[CODED_OCTET];
    for (size_t r = 0; r < n; r++) factors[r] = a[r] * coded_scale(rows[r], s, g);
    float step = round_some(q, factors, n, coded_most(s));
    for (size_t r = 0; r < n; r++) offset += (float)q[r] * coded_zero(rows[r], s, g);
    sum->offsets[g] -= step * offset;
    for (size_t c = g * (size_t)group; c < (g + 1) * (size_t)group && c < sum->end; c++) {
      int32_t whole = 0;
      for (size_t r = 0; r < n; r++) whole += q[r] * coded_code(rows[r], s, c);
      sum->acc[c] += step * (float)whole;
    }
  }
}

CODED_INLINE void widen_some(float *out, const uint8_t *row, const coded_shape *s, size_t first,
                             size_t end, int32_t bits) {
  (void)bits;
  for (size_t c = first; c < end; c++) {
    size_t g = c / (size_t)s->group;
    float code = (float)coded_code(row, s, c);
    out[c - first] = s->shared ? code : (code - coded_zero(row, s, g)) * coded_scale(row, s, g);
  }
}

/// Up to sixteen scales and zeros of a row from group g up.
CODED_INLINE void load_groups(float scales[CODED_RUN], float zeros[CODED_RUN], const uint8_t *row,
                              const coded_shape *s, size_t g, size_t count) {
  for (size_t i = 0; i < count; i++) {
    scales[i] = coded_scale(row, s, g + i);
    zeros[i] = coded_zero(row, s, g + i);
  }
}
