#include <pthread.h>
#include <string.h>

#include "tables.h"

#if defined(__x86_64__)
static int has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}
/// AVX-512 for products and the cache; weight rows stream faster in 256-bit vectors, whose loops
/// do not run away from the hardware prefetcher (kernels/stream.h), and rows here and there in step
/// (kernels/in_step.h), with the same sums.
static dejavu_kernels avx512_tables[2];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void merge_tables(void) {
  const dejavu_kernels *wide[2] = {&dejavu_table_avx512, &dejavu_table_avx512_bf16};
  for (int i = 0; i < 2; i++) {
    avx512_tables[i] = *wide[i];
    for (int type = 0; type < DEJAVU_DTYPES; type++) {
      dejavu_row_kernels *rows = &avx512_tables[i].rows[type];
      rows->dot_rows = dejavu_in_step[type].dot_rows;
      rows->axpy_rows = dejavu_table_avx2.rows[type].axpy_rows;
      rows->mlp_rows = dejavu_in_step[type].mlp_rows;
    }
  }
}

static int has_bf16_and_vnni(void) {
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
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
      pthread_once(&once, merge_tables);
      return &avx512_tables[has_bf16_and_vnni()];
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
