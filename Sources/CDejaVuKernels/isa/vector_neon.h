// The vector vocabulary on NEON (AArch64): 4 float lanes.
// See vector_scalar.h for what each word means.
#pragma once
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#define VW 4
#define GEMM_MR 8
#define GEMM_NV 2
typedef float32x4_t vf;

static inline vf vzero(void) { return vdupq_n_f32(0); }
static inline vf vset(float a) { return vdupq_n_f32(a); }
static inline vf vload(const float *p) { return vld1q_f32(p); }
static inline void vstore(float *p, vf a) { vst1q_f32(p, a); }
static inline vf vload_f16(const uint16_t *p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline vf vload_bf16(const uint16_t *p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
static inline void vstore_f16(uint16_t *p, vf a) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a)));
}
static inline void vstore_bf16(uint16_t *p, vf a) {
  uint32x4_t bits = vreinterpretq_u32_f32(a);
  uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
  uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
  rounded = vbslq_u32(vceqq_f32(a, a), rounded, quiet);
  vst1_u16(p, vshrn_n_u32(rounded, 16));
}
static inline vf vadd(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf vsub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf vmul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf vfma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf vmax(vf a, vf b) { return vmaxq_f32(a, b); }
static inline vf vmin(vf a, vf b) { return vminq_f32(a, b); }
static inline vf vround(vf a) { return vrndnq_f32(a); }
static inline vf vscale2(vf a, vf n) {
  // In two factors, so that results near the ends of the range neither overflow nor flush early.
  int32x4_t whole = vcvtnq_s32_f32(n);
  int32x4_t first = vshrq_n_s32(whole, 1), second = vsubq_s32(whole, first);
  int32x4_t bias = vdupq_n_s32(127);
  vf f = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(first, bias), 23));
  vf s = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(second, bias), 23));
  return vmulq_f32(vmulq_f32(a, f), s);
}
static inline float vsum(vf a) { return vaddvq_f32(a); }
static inline float vmaxall(vf a) { return vmaxvq_f32(a); }

static inline void vtranspose(vf r[4]) {
  float32x4x2_t low = vtrnq_f32(r[0], r[1]), high = vtrnq_f32(r[2], r[3]);
  r[0] = vcombine_f32(vget_low_f32(low.val[0]), vget_low_f32(high.val[0]));
  r[1] = vcombine_f32(vget_low_f32(low.val[1]), vget_low_f32(high.val[1]));
  r[2] = vcombine_f32(vget_high_f32(low.val[0]), vget_high_f32(high.val[0]));
  r[3] = vcombine_f32(vget_high_f32(low.val[1]), vget_high_f32(high.val[1]));
}

static inline vf vsums(vf r[4]) {
  return vpaddq_f32(vpaddq_f32(r[0], r[1]), vpaddq_f32(r[2], r[3]));
}
