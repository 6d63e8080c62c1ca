// The tables that the isa_*.c files define; dispatch.c picks among them.
#pragma once
#include "dejavu_kernels.h"

extern const dejavu_kernels dejavu_table_scalar;
#if defined(__x86_64__)
extern const dejavu_kernels dejavu_table_avx2;
extern const dejavu_kernels dejavu_table_avx512;
extern const dejavu_kernels dejavu_table_avx512_bf16;

/// Kernels of AVX-512 that read several rows in step, with the sums of AVX2's.
typedef struct {
  void (*dot_rows)(float *y, size_t y_stride, const void *w, size_t w_stride, size_t rows, const float *x,
                   size_t x_stride, size_t tokens, size_t d);
  size_t (*mlp_rows)(const dejavu_mlp_job *job, size_t first, size_t count, float *acc);
} dejavu_rows_in_step;
extern const dejavu_rows_in_step dejavu_in_step[DEJAVU_DTYPES];
#endif
#if defined(__aarch64__)
extern const dejavu_kernels dejavu_table_neon;
#endif
