// The tables that the isa_*.c files define; dispatch.c picks among them.
#pragma once
#include "dejavu_kernels.h"

extern const dejavu_kernels dejavu_table_scalar;
#if defined(__x86_64__)
extern const dejavu_kernels dejavu_table_avx2;
extern const dejavu_kernels dejavu_table_avx512;
extern const dejavu_kernels dejavu_table_avx512_bf16;
#endif
#if defined(__aarch64__)
extern const dejavu_kernels dejavu_table_neon;
#endif
