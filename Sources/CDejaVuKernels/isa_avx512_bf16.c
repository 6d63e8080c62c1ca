// AVX-512 on machines that also multiply bfloat16 pairs and bytes (AVX512_BF16, AVX512_VNNI).
#include "tables.h"

#if defined(__x86_64__)
#include <math.h>
#include <string.h>

#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,avx2,fma,f16c"))), \
    apply_to = function)
#define CODED_VNNI 1
#include "isa/vector_avx512.h"
#include "isa/codes_avx512.h"
#define HAS_CODES 1
#include "isa/pairs_avx512_bf16.h"
#define HAS_BF16_PRODUCTS 1
#include "kernels/instantiate.h"
#pragma clang attribute pop

const dejavu_kernels dejavu_table_avx512_bf16 = KERNEL_TABLE(DEJAVU_AVX512, "AVX-512 with BF16");
#endif
