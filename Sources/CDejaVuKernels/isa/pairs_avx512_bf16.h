// Pairs of bfloat16 in 32-bit lanes, for products by VDPBF16PS.
#pragma once
#include <immintrin.h>

/// Lane i holds (first[i], second[i]), both rounded to bfloat16.
static inline vf vpair(vf first, vf second) {
  __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(first));
  __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(second));
  return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}
/// `vpair` of sixteen stored values each; bfloat16 needs no rounding and is only interleaved.
static inline vf pair_rows_f32(const float *first, const float *second) {
  return vpair(vload(first), vload(second));
}
static inline vf pair_rows_f16(const uint16_t *first, const uint16_t *second) {
  return vpair(vload_f16(first), vload_f16(second));
}
static inline vf pair_rows_bf16(const uint16_t *first, const uint16_t *second) {
  __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)first));
  __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)second));
  return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}
static inline vf load_pairs_f32(const float *p) {
  return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(vload(p + VW), vload(p)));
}
static inline vf load_pairs_f16(const uint16_t *p) {
  return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(vload_f16(p + VW), vload_f16(p)));
}
static inline vf load_pairs_bf16(const uint16_t *p) { return _mm512_loadu_ps((const float *)p); }

/// Packs pairs first..<first + VW of up to GEMM_MR tokens: each token's pairs become a column.
static inline void pack_pairs(uint32_t *to, const float *a, size_t a_stride, size_t tall,
                              size_t first) {
  vf rows[VW];
  for (size_t t = 0; t < VW; t++)
    rows[t] = t < tall ? load_pairs_f32(a + t * a_stride + 2 * first) : vzero();
  vtranspose(rows);
  for (size_t i = 0; i < VW; i++)
    _mm512_mask_storeu_ps(to + (first + i) * GEMM_MR, (1u << GEMM_MR) - 1, rows[i]);
}

static void kernel_pack_a_bf16(void *out, const float *a, size_t a_stride, size_t tokens,
                               size_t k) {
  uint32_t *to = (uint32_t *)out;
  size_t pairs = (k + 1) / 2;
  for (size_t t0 = 0; t0 < tokens; t0 += GEMM_MR, to += GEMM_MR * pairs) {
    size_t tall = tokens - t0 < GEMM_MR ? tokens - t0 : GEMM_MR, i = 0;
    for (; 2 * (i + VW) <= k; i += VW) pack_pairs(to, a + t0 * a_stride, a_stride, tall, i);
    for (; i < pairs; i++)
      for (size_t t = 0; t < GEMM_MR; t++) {
        const float *from = t < tall ? a + (t0 + t) * a_stride : NULL;
        float first = from ? from[2 * i] : 0;
        float second = from && 2 * i + 1 < k ? from[2 * i + 1] : 0;
        __m128bh pair = _mm_cvtne2ps_pbh(_mm_setzero_ps(), _mm_set_ps(0, 0, second, first));
        to[i * GEMM_MR + t] = (uint32_t)_mm_cvtsi128_si32((__m128i)pair);
      }
  }
}

static inline void prefetch_tile(const float *c, size_t c_stride, size_t tall);
static inline void store_tile(float *c, size_t c_stride, vf sums[GEMM_MR][GEMM_NV], size_t tall,
                              size_t width, int accumulates);

/// c[tall, width] (+)= Σ over pairs, sums in registers and in float32.
static inline void gemm_tile_bf16(float *c, size_t c_stride, const uint32_t *a, const uint32_t *b,
                                  size_t pairs, size_t tall, size_t width, int accumulates) {
  vf sums[GEMM_MR][GEMM_NV];
  prefetch_tile(c, c_stride, tall);
  for (size_t t = 0; t < GEMM_MR; t++)
    for (size_t j = 0; j < GEMM_NV; j++) sums[t][j] = vzero();
  for (size_t k = 0; k < pairs; k++, a += GEMM_MR, b += GEMM_NV * VW) {
    __m512bh row[GEMM_NV];
    for (size_t j = 0; j < GEMM_NV; j++) row[j] = (__m512bh)_mm512_loadu_si512(b + j * VW);
#pragma clang loop unroll(full)
    for (size_t t = 0; t < GEMM_MR; t++) {
      __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[t]);
      for (size_t j = 0; j < GEMM_NV; j++) sums[t][j] = _mm512_dpbf16_ps(sums[t][j], x, row[j]);
    }
  }
  store_tile(c, c_stride, sums, tall, width, accumulates);
}
