// The vocabulary of coded rows on NEON (AArch64).
// See kernels/coded_vector.h for what each word means.
#pragma once
#include <arm_neon.h>

typedef int32x4_t iv;

static inline iv of_bytes(uint8x16_t a) { return vreinterpretq_s32_u8(a); }
static inline uint8x16_t bytes_of(iv a) { return vreinterpretq_u8_s32(a); }
static inline uint16x8_t words_of(iv a) { return vreinterpretq_u16_s32(a); }
static inline iv of_words(uint16x8_t a) { return vreinterpretq_s32_u16(a); }
static inline iv iload(const void *p) { return of_bytes(vld1q_u8(p)); }
static inline void istore(void *p, iv a) { vst1q_u8(p, bytes_of(a)); }
static inline iv iset(int32_t a) { return vdupq_n_s32(a); }
static inline iv iand(iv a, iv b) { return vandq_s32(a, b); }
static inline iv ior(iv a, iv b) { return vorrq_s32(a, b); }
static inline iv iright(iv a, unsigned n) {
  return of_words(vshlq_u16(words_of(a), vdupq_n_s16((int16_t)-(int)n)));
}
static inline iv ileft(iv a, unsigned n) {
  return of_words(vshlq_u16(words_of(a), vdupq_n_s16((int16_t)n)));
}
static inline iv plane_of_two(const uint8_t *p, size_t part) {
  return iright(iload(p + part % 2 * 16), part < 2 ? 0 : 4);
}
static inline iv plane_of_one(const uint8_t *p, size_t part) {
  return iright(iload(p), (unsigned)(2 * part));
}
static inline iv zip8_low(iv a, iv b) { return of_bytes(vzip1q_u8(bytes_of(a), bytes_of(b))); }
static inline iv zip8_high(iv a, iv b) { return of_bytes(vzip2q_u8(bytes_of(a), bytes_of(b))); }
static inline iv zip16_low(iv a, iv b) { return of_words(vzip1q_u16(words_of(a), words_of(b))); }
static inline iv zip16_high(iv a, iv b) { return of_words(vzip2q_u16(words_of(a), words_of(b))); }
static inline iv imadd(iv sum, iv a, iv b) {
  int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
  sum = vmlal_s16(sum, vget_low_s16(x), vget_low_s16(y));
  return vmlal_high_s16(sum, x, y);
}
static inline iv ipairs(iv sum, iv a, iv b) {
  int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
  iv low = vmull_s16(vget_low_s16(x), vget_low_s16(y));
  return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(x, y)));
}
static inline vf ifloat(iv a) { return vcvtq_f32_s32(a); }
static inline iv iround(vf a) { return vcvtnq_s32_f32(a); }
static inline iv ipack(iv a, iv b) {
  return vreinterpretq_s32_s16(vcombine_s16(vqmovn_s32(a), vqmovn_s32(b)));
}
static inline iv ijoin(iv low, iv high) { return vsliq_n_s32(low, high, 16); }
static inline vf vdivide(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf load_halves(const uint16_t *p, size_t count) {
  uint16_t part[VW] = {0};
  memcpy(part, p, (count < VW ? count : VW) * sizeof *p);
  return vload_f16(part);
}
static inline vf load_bytes(const uint8_t *p, size_t count) {
  float wide[VW] = {0};
  for (size_t i = 0; i < VW && i < count; i++) wide[i] = p[i];
  return vload(wide);
}
static inline vf load_words(const uint8_t *p, size_t count) {
  float wide[VW] = {0};
  for (size_t i = 0; i < VW && i < count; i++) wide[i] = (float)(p[2 * i] | p[2 * i + 1] << 8);
  return vload(wide);
}
