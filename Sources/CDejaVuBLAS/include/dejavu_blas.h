// A BLAS found at run time: OpenBLAS, or Accelerate on macOS. Nothing is needed at build time.
#pragma once
#include <stdint.h>

#if defined(__clang__)
#pragma clang assume_nonnull begin
#endif

/// Looks for a BLAS once; returns its file name, or NULL where there is none.
const char *_Nullable dejavu_blas_load(void);
/// Threads of the next calls.
void dejavu_blas_set_threads(int32_t threads);

/// C[m, n] = alpha · op(A) · op(B) + beta · C, row-major; `transposes_a` means A is stored [k, m].
typedef struct {
  int32_t transposes_a, transposes_b;
  int32_t m, n, k;
  float alpha, beta;
  const float *a;
  int32_t lda;
  const float *b;
  int32_t ldb;
  float *c;
  int32_t ldc;
} dejavu_sgemm_job;
/// Only after `dejavu_blas_load` has found one.
void dejavu_blas_sgemm(const dejavu_sgemm_job *job);

#if defined(__clang__)
#pragma clang assume_nonnull end
#endif
