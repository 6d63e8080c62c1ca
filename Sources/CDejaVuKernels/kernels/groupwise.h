// Products of groupwise low-bit rows with a vector rounded to 8 bits: the arithmetic of choosers.
//
// A row is [codes][scales]: d codes of 2, 4 or 8 bits, low bits first, and one half-precision
// scale for each group of 64 lanes. A weight is (code − (2^bits − 1) / 2) · scale. The vector is
// x ≈ step · q with q in −127...127, so that
//   w · x = step · Σ_g scale_g · (Σ_{i ∈ g} code_i · q_i − (2^bits − 1) / 2 · Σ_{i ∈ g} q_i).
// Integer sums are exact; only the sum over groups is in float32.
//
// q is arranged as codes are: for every 64 bytes of codes (fewer at a row's end) there is a plane
// of as many q for each of the 8 / bits shifts that take codes out of a byte. So a full vector of
// codes meets full vectors of q, whatever the number of bits.

enum { GROUP = 64, BLOCK = 64, AHEAD = 4096 };

/// Where in the arranged vector the q lies that meets shift `plane` of byte `at` of the codes.
static inline size_t arranged_index(size_t at, size_t plane, size_t planes, size_t bytes) {
  size_t block = at / BLOCK, rest = bytes - block * BLOCK;
  return block * BLOCK * planes + plane * (rest < BLOCK ? rest : BLOCK) + at % BLOCK;
}

#if defined(GROUPWISE_AVX512)

static inline __m512i add_products(__m512i sum, __m512i codes, __m512i x, int32_t bits) {
#if defined(GROUPWISE_VNNI)
  (void)bits;
  return _mm512_dpbusd_epi32(sum, codes, x);
#else
  if (bits < 8) {
    __m512i pairs = _mm512_maddubs_epi16(codes, x);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  // 8-bit codes would saturate 16-bit sums. Unpacking keeps each product in its own 32-bit lane.
  __m512i zero = _mm512_setzero_si512(), sign = _mm512_movm_epi8(_mm512_movepi8_mask(x));
  __m512i low = _mm512_madd_epi16(_mm512_unpacklo_epi8(codes, zero), _mm512_unpacklo_epi8(x, sign));
  __m512i high = _mm512_madd_epi16(_mm512_unpackhi_epi8(codes, zero), _mm512_unpackhi_epi8(x, sign));
  return _mm512_add_epi32(sum, _mm512_add_epi32(low, high));
#endif
}

/// Sums of the products of up to 64 bytes of codes, in 32-bit lanes in the order of the bytes.
static inline __m512i block_product(const uint8_t *codes, const int8_t *q, size_t bytes,
                                    int32_t bits) {
  __mmask64 all = bytes >= BLOCK ? ~0ull : (1ull << bytes) - 1;
  size_t plane = bytes >= BLOCK ? BLOCK : bytes;
  __m512i packed = _mm512_maskz_loadu_epi8(all, codes);
  __m512i mask = _mm512_set1_epi8((char)((1 << bits) - 1)), sum = _mm512_setzero_si512();
  for (int32_t shift = 0; shift < 8; shift += bits, q += plane) {
    __m512i shifted = _mm512_and_si512(_mm512_srli_epi16(packed, (unsigned)shift), mask);
    sum = add_products(sum, shifted, _mm512_maskz_loadu_epi8(all, q), bits);
  }
  return sum;
}

/// Lane i of the result names the group, among those of a block, that 32-bit lane i is of.
static inline __m512i groups_of_lanes(int32_t bits) {
  if (bits == 8) return _mm512_setzero_si512();
  if (bits == 4) return _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
}

/// The sums of four vectors' lanes, each in the same order.
static inline __m128 four_sums(const vf v[4]) {
  vf low = vadd(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  vf high = vadd(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
  vf lanes = vadd(_mm512_shuffle_ps(low, high, 0x44), _mm512_shuffle_ps(low, high, 0xEE));
  __m256 half = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/// Products of four rows: the vector is loaded once for all, and their lanes are added together.
static inline void four_products(float y[4], const uint8_t *const rows[4], const int8_t *q,
                                 size_t bytes, const float *middles, int32_t bits) {
  size_t planes = 8 / (size_t)bits, groups = bytes * planes / GROUP;
  __m512i next = _mm512_set1_epi32((int)planes);
  vf total[4] = {vzero(), vzero(), vzero(), vzero()}, scales[4];
  // The scales of sixteen groups stay in a register.
  for (size_t g = 0; g < groups; g += 16) {
    size_t count = groups - g < 16 ? groups - g : 16;
    __mmask16 wanted = (__mmask16)((1u << count) - 1);
    vf middle = vload(middles + g);
    for (size_t r = 0; r < 4; r++) {
      scales[r] = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(wanted, rows[r] + bytes + 2 * g));
      total[r] = vfma(scales[r], middle, total[r]);
    }
    __m512i owners = groups_of_lanes(bits);
    size_t end = (g + count) * GROUP / planes;
    for (size_t at = g * GROUP / planes; at < end; at += BLOCK) {
#pragma clang loop unroll(full)
      for (size_t r = 0; r < 4; r++) {
        __m512i sum = block_product(rows[r] + at, q + at * planes, end - at, bits);
        total[r] = vfma(_mm512_cvtepi32_ps(sum), _mm512_permutexvar_ps(owners, scales[r]), total[r]);
      }
      owners = _mm512_add_epi32(owners, next);
    }
  }
  _mm_storeu_ps(y, four_sums(total));
}

#elif defined(GROUPWISE_AVX2)

static inline __m256i products(__m256i codes, __m256i x, int32_t bits) {
  if (bits < 8)
    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), _mm256_set1_epi16(1));
  __m256i low = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_castsi256_si128(codes)),
                                  _mm256_cvtepi8_epi16(_mm256_castsi256_si128(x)));
  __m256i high = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_extracti128_si256(codes, 1)),
                                   _mm256_cvtepi8_epi16(_mm256_extracti128_si256(x, 1)));
  return _mm256_add_epi32(low, high);
}

/// 32 bytes, or 16 and zeros.
static inline __m256i load_part(const void *p, size_t bytes) {
  return bytes >= 32 ? _mm256_loadu_si256((const __m256i *)p)
                     : _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)p));
}

static inline float scaled_products(const uint8_t *row, const int8_t *q, size_t bytes,
                                    const float *scales, const float *middles, int32_t bits) {
  vf total = vzero(), share = vset(bits == 2 ? 0.25f : bits == 4 ? 0.125f : 0.0625f);
  size_t planes = 8 / (size_t)bits;
  __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
  for (size_t at = 0; at < bytes; at += 32) {
    __m256i packed = load_part(row + at, bytes - at), sum = _mm256_setzero_si256();
    for (size_t plane = 0; plane < planes; plane++) {
      __m128i shift = _mm_cvtsi32_si128((int)plane * bits);
      __m256i codes = _mm256_and_si256(_mm256_srl_epi16(packed, shift), mask);
      const int8_t *x = q + arranged_index(at, plane, planes, bytes);
      sum = _mm256_add_epi32(sum, products(codes, load_part(x, bytes - at), bits));
    }
    size_t g = at * planes / GROUP;
    vf scale = vset(scales[g]), middle = vset(middles[g]);
    if (bits == 2) {
      scale = _mm256_blend_ps(scale, vset(scales[g + 1]), 0xF0);
      middle = _mm256_blend_ps(middle, vset(middles[g + 1]), 0xF0);
    }
    // Exact: a group's middle is divided among its 4, 8 or 16 lanes.
    total = vfma(vfma(middle, share, _mm256_cvtepi32_ps(sum)), scale, total);
  }
  return vsum(total);
}

#else

static inline float scaled_products(const uint8_t *row, const int8_t *q, size_t bytes,
                                    const float *scales, const float *middles, int32_t bits) {
  size_t planes = 8 / (size_t)bits, group = GROUP / planes;
  float total = 0;
  for (size_t g = 0; g < bytes / group; g++) {
    int32_t sum = 0;
    for (size_t at = g * group; at < (g + 1) * group; at++)
      for (size_t plane = 0; plane < planes; plane++)
        sum += (row[at] >> (plane * (size_t)bits) & ((1 << bits) - 1))
               * q[arranged_index(at, plane, planes, bytes)];
    total += ((float)sum + middles[g]) * scales[g];
  }
  return total;
}

#endif

#if !defined(GROUPWISE_AVX512)

static inline float row_product(const uint8_t *row, const int8_t *q, size_t bytes,
                                const float *middles, int32_t bits) {
  size_t groups = bytes * 8 / (size_t)bits / GROUP;
  const uint16_t *scales = (const uint16_t *)(row + bytes);
  float storage[GROUPWISE_MAX_GROUPS + 2 * VW], *wide = storage + VW;
  wide[groups] = 0;
  // The last vector may begin among the codes before the scales: a row has enough of them.
  vstore(wide + groups - VW, vload_f16(scales + groups - VW));
  for (size_t g = 0; g + VW <= groups; g += VW) vstore(wide + g, vload_f16(scales + g));
  return scaled_products(row, q, bytes, wide, middles, bits);
}

static inline void four_products(float y[4], const uint8_t *const rows[4], const int8_t *q,
                                 size_t bytes, const float *middles, int32_t bits) {
  for (size_t r = 0; r < 4; r++) y[r] = row_product(rows[r], q, bytes, middles, bits);
}

#endif

static inline __attribute__((always_inline)) void score_rows(
    float *scores, const dejavu_groupwise *w, const dejavu_quantized_vector *x, size_t first,
    size_t count, int32_t bits) {
  size_t groups = w->d / GROUP, bytes = w->d * (size_t)bits / 8;
  // −(2^bits − 1) / 2 · Σ q of each group, and zeros up to a whole vector.
  float middles[GROUPWISE_MAX_GROUPS + VW], middle = (float)((1 << bits) - 1) / 2;
  for (size_t g = 0; g < groups + VW; g++)
    middles[g] = g < groups ? -middle * x->group_sums[g] : 0;
  for (size_t r = first, end = first + count; r < end; r += 4) {
    // As far ahead as the bandwidth probe's: rows in a row, and less than a page of them.
    const uint8_t *row = (const uint8_t *)w->rows + r * w->stride, *rows[4];
    for (size_t at = 0; at < 4 * w->stride; at += 64) __builtin_prefetch(row + AHEAD + at, 0, 3);
    size_t present = end - r < 4 ? end - r : 4;
    for (size_t j = 0; j < 4; j++) rows[j] = j < present ? row + j * w->stride : row;
    float y[4];
    four_products(y, rows, x->q, bytes, middles, bits);
    for (size_t j = 0; j < present; j++) {
      float score = x->step * y[j] + (w->bias ? w->bias[r + j] : 0);
      scores[r + j] = w->gain ? score * w->gain[r + j] : score;
    }
  }
}

static void kernel_groupwise_scores(float *scores, const dejavu_groupwise *w,
                                    const dejavu_quantized_vector *x, size_t first,
                                    size_t count) {
  if (w->bits == 8) score_rows(scores, w, x, first, count, 8);
  else if (w->bits == 4) score_rows(scores, w, x, first, count, 4);
  else score_rows(scores, w, x, first, count, 2);
}

static float kernel_groupwise_round(int8_t *q, float *group_sums, const float *x, size_t d,
                                    int32_t bits) {
  vf highest = vzero(), lowest = vzero();
  for (size_t i = 0; i < d; i += VW) {
    highest = vmax(highest, vload(x + i));
    lowest = vmin(lowest, vload(x + i));
  }
  float greatest = vmaxall(vmax(highest, vsub(vzero(), lowest)));
  // The reciprocal of anything smaller is infinite.
  if (!(greatest > 1e-36f)) greatest = 0;
  vf scale = vset(greatest > 0 ? 127 / greatest : 0);
  size_t planes = 8 / (size_t)bits, lanes = GROUP / planes, bytes = d / planes;
  for (size_t g = 0; g < d / GROUP; g++) {
    float whole[GROUP];
    int32_t sum = 0;
    for (size_t i = 0; i < GROUP; i += VW) {
      vf y = vround(vmul(vload(x + g * GROUP + i), scale));
      vstore(whole + i, vmin(vmax(y, vset(-127)), vset(127)));
    }
    for (size_t plane = 0; plane < planes; plane++) {
      int8_t *part = q + arranged_index(g * lanes, plane, planes, bytes);
      for (size_t i = 0; i < lanes; i++) {
        part[i] = (int8_t)whole[plane * lanes + i];
        sum += part[i];
      }
    }
    group_sums[g] = (float)sum;
  }
  return greatest / 127;
}

static void kernel_groupwise_rest(float *rest, const dejavu_quantized_vector *rounded,
                                  const float *x, size_t d, int32_t bits) {
  size_t planes = 8 / (size_t)bits, lanes = GROUP / planes, bytes = d / planes;
  for (size_t g = 0; g < d / GROUP; g++)
    for (size_t plane = 0; plane < planes; plane++) {
      const int8_t *part = rounded->q + arranged_index(g * lanes, plane, planes, bytes);
      size_t first = g * GROUP + plane * lanes;
      for (size_t i = 0; i < lanes; i++)
        rest[first + i] = x[first + i] - rounded->step * (float)part[i];
    }
}
