#include "tables.h"

#if defined(__x86_64__)
#include <math.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "isa/vector_avx2.h"
#include "isa/codes_avx2.h"
#define HAS_CODES 1
#include "kernels/instantiate.h"
#pragma clang attribute pop

const dejavu_kernels dejavu_table_avx2 = KERNEL_TABLE(DEJAVU_AVX2, "AVX2");
#endif
