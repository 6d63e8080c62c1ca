// The vector vocabulary: a handful of words in which every kernel is written once.
//
//   VW                    lanes of a vector
//   GEMM_MR, GEMM_NV      tokens and vectors of one tile of a matrix product
//   vf                    VW floats
//   vload_f16/bf16        VW stored halves, widened exactly; vstore_* round to nearest even
//   vfma(a, b, c)         a · b + c, fused where the machine can
//   vscale2(a, n)         a · 2^n for integral n
//   vsum, vmaxall         over lanes, in a fixed order
//   vtranspose(r)         r is VW vectors; rows become columns
//   vsums(r)              lane i is the sum of the lanes of r[i], VW vectors that may be overwritten
//
// This file is the plain version: one lane, no instruction set assumed.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VW 1
#define GEMM_MR 4
#define GEMM_NV 4
typedef float vf;

static inline float scalar_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
static inline uint32_t scalar_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
static inline vf vzero(void) { return 0; }
static inline vf vset(float a) { return a; }
static inline vf vload(const float *p) { return *p; }
static inline void vstore(float *p, vf a) { *p = a; }
static inline vf vload_f16(const uint16_t *p) {
  uint32_t sign = (uint32_t)(*p & 0x8000) << 16, exponent = *p >> 10 & 0x1F, fraction = *p & 0x3FF;
  if (exponent == 0x1F) return scalar_from_bits(sign | 0x7F800000 | fraction << 13);
  if (exponent == 0) return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
  return scalar_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}
static inline vf vload_bf16(const uint16_t *p) { return scalar_from_bits((uint32_t)*p << 16); }
static inline void vstore_f16(uint16_t *p, vf a) {
  uint32_t bits = scalar_bits(a), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) {
    *p = (uint16_t)(sign | 0x7E00);
  } else if (magnitude >= 0x47800000) {
    *p = (uint16_t)(sign | 0x7C00);
  } else if (magnitude < 0x38800000) {
    // Subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low fraction bits.
    float shifted = scalar_from_bits(magnitude) + 0.5f;
    *p = (uint16_t)(sign | (scalar_bits(shifted) - scalar_bits(0.5f)));
  } else {
    uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
    *p = (uint16_t)(sign | (rounded - 0x38000000) >> 13);
  }
}
static inline void vstore_bf16(uint16_t *p, vf a) {
  uint32_t bits = scalar_bits(a);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) {
    *p = (uint16_t)(bits >> 16 | 0x40);
  } else {
    *p = (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  }
}
static inline vf vadd(vf a, vf b) { return a + b; }
static inline vf vsub(vf a, vf b) { return a - b; }
static inline vf vmul(vf a, vf b) { return a * b; }
static inline vf vfma(vf a, vf b, vf c) { return a * b + c; }
static inline vf vmax(vf a, vf b) { return a > b ? a : b; }
static inline vf vmin(vf a, vf b) { return a < b ? a : b; }
static inline vf vround(vf a) { return rintf(a); }
static inline vf vscale2(vf a, vf n) { return ldexpf(a, (int)n); }
static inline float vsum(vf a) { return a; }
static inline float vmaxall(vf a) { return a; }
static inline void vtranspose(vf r[1]) { (void)r; }
static inline vf vsums(vf r[1]) { return r[0]; }
