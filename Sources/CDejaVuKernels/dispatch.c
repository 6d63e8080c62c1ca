#include <string.h>

#include "tables.h"

#if defined(__x86_64__)
static int has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}
static int has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

const dejavu_kernels *dejavu_kernels_for(int32_t isa) {
  switch (isa) {
    case DEJAVU_SCALAR: return &dejavu_table_scalar;
#if defined(__x86_64__)
    case DEJAVU_AVX2: return has_avx2() ? &dejavu_table_avx2 : NULL;
    case DEJAVU_AVX512:
      if (!has_avx512()) return NULL;
      return __builtin_cpu_supports("avx512bf16") ? &dejavu_table_avx512_bf16
                                                  : &dejavu_table_avx512;
#endif
#if defined(__aarch64__)
    case DEJAVU_NEON: return &dejavu_table_neon;
#endif
    default: return NULL;
  }
}

// A panel of B: GEMM_KC (256) rows, or pairs of rows, of at most 32 lanes.
size_t dejavu_gemm_scratch(void) { return 256 * 32 * sizeof(float); }

size_t dejavu_packed_a_bytes(const dejavu_kernels *kernels, size_t tokens, size_t k) {
  size_t tall = kernels->gemm_tile_tokens;
  return (tokens + tall - 1) / tall * tall * (k + 1) * sizeof(float);
}

int32_t dejavu_all_finite(const float *x, size_t n) {
  uint32_t greatest = 0;
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7F800000;
    greatest = bits > greatest ? bits : greatest;
  }
  return greatest < 0x7F800000;
}
