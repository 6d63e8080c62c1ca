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
#include "kernels/instantiate.h"
#pragma clang attribute pop

const dejavu_kernels dejavu_table_avx512 = KERNEL_TABLE(DEJAVU_AVX512, "AVX-512");
#endif
