// The vocabulary of coded rows on AVX2.
// See kernels/coded_vector.h for what each word means.
#pragma once
#include <immintrin.h>

typedef __m256i iv;

static inline iv iload(const void *p) { return _mm256_loadu_si256((const iv *)p); }
static inline void istore(void *p, iv a) { _mm256_storeu_si256((iv *)p, a); }
static inline iv iset(int32_t a) { return _mm256_set1_epi32(a); }
static inline iv iand(iv a, iv b) { return _mm256_and_si256(a, b); }
static inline iv ior(iv a, iv b) { return _mm256_or_si256(a, b); }
static inline iv iright(iv a, unsigned n) { return _mm256_srli_epi16(a, (int)n); }
static inline iv ileft(iv a, unsigned n) { return _mm256_slli_epi16(a, (int)n); }
static inline iv plane_of_two(const uint8_t *p, size_t part) {
  return _mm256_srli_epi16(iload(p), part == 0 ? 0 : 4);
}
static inline iv plane_of_one(const uint8_t *p, size_t part) {
  iv both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
  long long n = part == 0 ? 0 : 4;
  return _mm256_srlv_epi64(both, _mm256_set_epi64x(n + 2, n + 2, n, n));
}
static inline iv zip8_low(iv a, iv b) { return _mm256_unpacklo_epi8(a, b); }
static inline iv zip8_high(iv a, iv b) { return _mm256_unpackhi_epi8(a, b); }
static inline iv zip16_low(iv a, iv b) { return _mm256_unpacklo_epi16(a, b); }
static inline iv zip16_high(iv a, iv b) { return _mm256_unpackhi_epi16(a, b); }
static inline iv imadd(iv sum, iv a, iv b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}
static inline iv ipairs(iv sum, iv a, iv b) { return imadd(sum, a, b); }
static inline vf ifloat(iv a) { return _mm256_cvtepi32_ps(a); }
static inline iv iround(vf a) { return _mm256_cvtps_epi32(a); }
static inline iv ipack(iv a, iv b) { return _mm256_packs_epi32(a, b); }
static inline iv ijoin(iv low, iv high) {
  return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xAA);
}
static inline vf vdivide(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf load_halves(const uint16_t *p, size_t count) {
  if (count >= VW) return vload_f16(p);
  uint16_t part[VW] = {0};
  memcpy(part, p, count * sizeof *p);
  return vload_f16(part);
}
static inline vf load_bytes(const uint8_t *p, size_t count) {
  uint8_t part[16] = {0};
  memcpy(part, p, count < VW ? count : VW);
  return ifloat(_mm256_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)part)));
}
static inline vf load_words(const uint8_t *p, size_t count) {
  uint8_t part[16] = {0};
  memcpy(part, p, 2 * (count < VW ? count : VW));
  return ifloat(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)part)));
}
