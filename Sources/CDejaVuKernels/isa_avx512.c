#include "tables.h"

#if defined(__x86_64__)
#include <math.h>
#include <string.h>

#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))), \
    apply_to = function)
#include "isa/vector_avx512.h"
#include "isa/codes_avx512.h"
#define HAS_CODES 1

/// Rows of an MLP that are read in step, and their columns at a time; rows and tokens of a projection.
enum { ABREAST = 8, STEP = 2 * VW, STEP_ROWS = 4, STEP_TOKENS = 3 };
/// Columns from those that are multiplied to those that are asked for: 1.5 KiB of half-precision weights.
static inline size_t asked_columns(size_t d) { return d < 24 * STEP ? d : 24 * STEP; }

#define HAS_ROWS_IN_STEP 1
#include "kernels/instantiate.h"
#pragma clang attribute pop

const dejavu_kernels dejavu_table_avx512 = KERNEL_TABLE(DEJAVU_AVX512, "AVX-512");
const dejavu_rows_in_step dejavu_in_step[DEJAVU_DTYPES] = {
    IN_STEP_KERNELS(f32), IN_STEP_KERNELS(f16), IN_STEP_KERNELS(bf16)};
#endif
