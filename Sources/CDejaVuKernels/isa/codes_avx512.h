// The vocabulary of coded rows on AVX-512 (F, BW, VL, DQ, and VNNI where there is some).
// See kernels/coded_vector.h for what each word means.
#pragma once
#include <immintrin.h>

typedef __m512i iv;

static inline iv iload(const void *p) { return _mm512_loadu_si512(p); }
static inline void istore(void *p, iv a) { _mm512_storeu_si512(p, a); }
static inline iv iset(int32_t a) { return _mm512_set1_epi32(a); }
static inline iv iand(iv a, iv b) { return _mm512_and_si512(a, b); }
static inline iv ior(iv a, iv b) { return _mm512_or_si512(a, b); }
static inline iv iright(iv a, unsigned n) { return _mm512_srli_epi16(a, n); }
static inline iv ileft(iv a, unsigned n) { return _mm512_slli_epi16(a, n); }
static inline iv plane_of_two(const uint8_t *p, size_t part) {
  (void)part;
  iv both = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
  return _mm512_srlv_epi64(both, _mm512_set_epi64(4, 4, 4, 4, 0, 0, 0, 0));
}
static inline iv plane_of_one(const uint8_t *p, size_t part) {
  (void)part;
  iv all = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
  return _mm512_srlv_epi64(all, _mm512_set_epi64(6, 6, 4, 4, 2, 2, 0, 0));
}
static inline iv zip8_low(iv a, iv b) { return _mm512_unpacklo_epi8(a, b); }
static inline iv zip8_high(iv a, iv b) { return _mm512_unpackhi_epi8(a, b); }
static inline iv zip16_low(iv a, iv b) { return _mm512_unpacklo_epi16(a, b); }
static inline iv zip16_high(iv a, iv b) { return _mm512_unpackhi_epi16(a, b); }
static inline iv imadd(iv sum, iv a, iv b) {
#if defined(CODED_VNNI)
  return _mm512_dpwssd_epi32(sum, a, b);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}
static inline iv ipairs(iv sum, iv a, iv b) { return imadd(sum, a, b); }
static inline vf ifloat(iv a) { return _mm512_cvtepi32_ps(a); }
static inline iv iround(vf a) { return _mm512_cvtps_epi32(a); }
static inline iv ipack(iv a, iv b) { return _mm512_packs_epi32(a, b); }
static inline iv ijoin(iv low, iv high) {
  return _mm512_mask_blend_epi16(0xAAAAAAAA, low, _mm512_slli_epi32(high, 16));
}
static inline vf vdivide(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf load_halves(const uint16_t *p, size_t count) {
  __mmask16 mask = count >= VW ? 0xFFFF : (__mmask16)((1u << count) - 1);
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
}
static inline vf load_bytes(const uint8_t *p, size_t count) {
  __mmask16 mask = count >= VW ? 0xFFFF : (__mmask16)((1u << count) - 1);
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, p)));
}
static inline vf load_words(const uint8_t *p, size_t count) {
  __mmask16 mask = count >= VW ? 0xFFFF : (__mmask16)((1u << count) - 1);
  return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p)));
}
