// Products of groupwise low-bit rows with a vector rounded to 8 bits: the arithmetic of choosers.
//
// A row is [codes][scales]: d codes of 2, 4 or 8 bits, low bits first, and one half-precision
// scale for each group of 64 lanes. A weight is (code − (2^bits − 1) / 2) · scale. The vector is
// x ≈ step · q with q in −127...127, so that
//   w · x = step · Σ_g scale_g · (Σ_{i ∈ g} code_i · q_i − (2^bits − 1) / 2 · Σ_{i ∈ g} q_i).
// Integer sums are exact; only the sum over groups is in float32.

enum { GROUP = 64 };

#if defined(GROUPWISE_AVX512)

/// 64 codes as unsigned bytes.
static inline __m512i codes_of(const uint8_t *row, size_t group, int32_t bits) {
  if (bits == 8) return _mm512_loadu_si512(row + group * 64);
  if (bits == 4) {
    // Byte j holds lane j in its low half and lane j + 32 in its high half.
    __m256i packed = _mm256_loadu_si256((const __m256i *)(row + group * 32));
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(packed),
                                      _mm256_srli_epi16(packed, 4), 1);
    return _mm512_and_si512(both, _mm512_set1_epi8(15));
  }
  // Byte j holds lanes j, j + 16, j + 32 and j + 48.
  __m512i packed = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(row + group * 16)));
  __m512i shifted = _mm512_srlv_epi64(packed, _mm512_set_epi64(6, 6, 4, 4, 2, 2, 0, 0));
  return _mm512_and_si512(shifted, _mm512_set1_epi8(3));
}

static inline vf group_product(const uint8_t *row, size_t group, int32_t bits, const int8_t *q) {
  __m512i codes = codes_of(row, group, bits), x = _mm512_loadu_si512(q + group * 64);
#if defined(GROUPWISE_VNNI)
  return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, x));
#else
  if (bits < 8) {
    __m512i pairs = _mm512_maddubs_epi16(codes, x);
    return _mm512_cvtepi32_ps(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  // 8-bit codes would saturate 16-bit sums.
  __m512i low = _mm512_madd_epi16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(codes)),
                                  _mm512_cvtepi8_epi16(_mm512_castsi512_si256(x)));
  __m512i high = _mm512_madd_epi16(_mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(codes, 1)),
                                   _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(x, 1)));
  return _mm512_cvtepi32_ps(_mm512_add_epi32(low, high));
#endif
}

#elif defined(GROUPWISE_AVX2)

static inline __m256i half_product(__m256i codes, __m256i x, int32_t bits) {
  if (bits < 8)
    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), _mm256_set1_epi16(1));
  __m256i low = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_castsi256_si128(codes)),
                                  _mm256_cvtepi8_epi16(_mm256_castsi256_si128(x)));
  __m256i high = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_extracti128_si256(codes, 1)),
                                   _mm256_cvtepi8_epi16(_mm256_extracti128_si256(x, 1)));
  return _mm256_add_epi32(low, high);
}

static inline vf group_product(const uint8_t *row, size_t group, int32_t bits, const int8_t *q) {
  __m256i first, second;
  if (bits == 8) {
    first = _mm256_loadu_si256((const __m256i *)(row + group * 64));
    second = _mm256_loadu_si256((const __m256i *)(row + group * 64 + 32));
  } else if (bits == 4) {
    __m256i packed = _mm256_loadu_si256((const __m256i *)(row + group * 32));
    first = _mm256_and_si256(packed, _mm256_set1_epi8(15));
    second = _mm256_and_si256(_mm256_srli_epi16(packed, 4), _mm256_set1_epi8(15));
  } else {
    __m256i packed = _mm256_broadcastsi128_si256(
        _mm_loadu_si128((const __m128i *)(row + group * 16)));
    __m256i mask = _mm256_set1_epi8(3);
    first = _mm256_and_si256(_mm256_srlv_epi64(packed, _mm256_set_epi64x(2, 2, 0, 0)), mask);
    second = _mm256_and_si256(_mm256_srlv_epi64(packed, _mm256_set_epi64x(6, 6, 4, 4)), mask);
  }
  const __m256i *x = (const __m256i *)(q + group * 64);
  __m256i sum = _mm256_add_epi32(half_product(first, _mm256_loadu_si256(x), bits),
                                 half_product(second, _mm256_loadu_si256(x + 1), bits));
  return _mm256_cvtepi32_ps(sum);
}

#else

static inline int32_t code_at(const uint8_t *row, size_t lane, int32_t bits) {
  size_t group = lane / GROUP, at = lane % GROUP;
  if (bits == 8) return row[lane];
  if (bits == 4) return row[group * 32 + at % 32] >> (at / 32 * 4) & 15;
  return row[group * 16 + at % 16] >> (at / 16 * 2) & 3;
}

static inline vf group_product(const uint8_t *row, size_t group, int32_t bits, const int8_t *q) {
  int32_t sums[VW] = {0};
  for (size_t i = 0; i < GROUP; i++)
    sums[i % VW] += code_at(row, group * GROUP + i, bits) * q[group * GROUP + i];
  float wide[VW];
  for (size_t i = 0; i < VW; i++) wide[i] = (float)sums[i];
  return vload(wide);
}

#endif

static void kernel_groupwise_scores(float *scores, const dejavu_groupwise *w,
                                    const dejavu_quantized_vector *x, size_t first,
                                    size_t count) {
  size_t groups = w->d / GROUP;
  float middle = (float)((1 << w->bits) - 1) / 2;
  for (size_t r = first; r < first + count; r++) {
    const uint8_t *row = (const uint8_t *)w->rows + r * w->stride;
    const uint16_t *scales = (const uint16_t *)(row + w->d * (size_t)w->bits / 8);
    vf total = vzero();
    float wide[GROUPWISE_MAX_GROUPS], correction = 0;
    widen_f16(wide, scales, groups);
    for (size_t g = 0; g < groups; g++) {
      total = vfma(group_product(row, g, w->bits, x->q), vset(wide[g]), total);
      correction += wide[g] * x->group_sums[g];
    }
    float y = x->step * (vsum(total) - middle * correction);
    if (w->bias) y += w->bias[r];
    scores[r] = w->gain ? y * w->gain[r] : y;
  }
}
