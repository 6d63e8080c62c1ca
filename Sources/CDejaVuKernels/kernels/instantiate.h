// Makes one instruction set's kernels out of the bodies: include after the vocabulary.
#include "shared.h"

#ifdef HAS_BF16_PRODUCTS
#define BF16_KERNEL(name) name
#else
#define BF16_KERNEL(name) NULL
#endif

#define ELEM float
#define LOADV vload
#define STOREV vstore
#define NAME(base) base##_f32
#define TYPE DEJAVU_F32
#include "stream.h"
#ifdef HAS_ROWS_IN_STEP
#include "in_step.h"
#endif
#include "cache.h"
#include "gemm.h"
#ifdef HAS_BF16_PRODUCTS
#include "gemm_bf16.h"
#endif
#undef ELEM
#undef LOADV
#undef STOREV
#undef NAME
#undef TYPE

#define ELEM uint16_t
#define LOADV vload_f16
#define STOREV vstore_f16
#define NAME(base) base##_f16
#define TYPE DEJAVU_F16
#include "stream.h"
#ifdef HAS_ROWS_IN_STEP
#include "in_step.h"
#endif
#include "cache.h"
#include "gemm.h"
#ifdef HAS_BF16_PRODUCTS
#include "gemm_bf16.h"
#endif
#undef LOADV
#undef STOREV
#undef NAME
#undef TYPE

#define LOADV vload_bf16
#define STOREV vstore_bf16
#define NAME(base) base##_bf16
#define TYPE DEJAVU_BF16
#include "stream.h"
#ifdef HAS_ROWS_IN_STEP
#include "in_step.h"
#endif
#include "cache.h"
#include "gemm.h"
#ifdef HAS_BF16_PRODUCTS
#include "gemm_bf16.h"
#endif

#include "coded.h"
#include "coded_asks.h"
#ifdef HAS_CODES
#include "coded_vector.h"
#else
#include "coded_scalar.h"
#endif
#include "coded_shared.h"
#include "coded_nested.h"
#include "coded_scores.h"
#include "coded_rows.h"
#include "coded_bundle.h"
#include "coded_streamed.h"
#include "coded_mlp.h"

#define ROW_KERNELS(suffix)                                                                     \
  {                                                                                             \
    .dot_rows = dot_rows_##suffix, .axpy_rows = axpy_rows_##suffix,                             \
    .mlp_rows = mlp_rows_##suffix, .scores = scores_##suffix, .weigh = weigh_##suffix,          \
    .widen = widen_##suffix, .narrow = narrow_##suffix, .gemm = gemm_##suffix,                  \
    .gemm_bf16 = BF16_KERNEL(gemm_bf16_##suffix)                                                \
  }

#define IN_STEP_KERNELS(suffix) \
  { .dot_rows = dot_rows_in_step_##suffix, .mlp_rows = mlp_rows_in_step_##suffix }

#define KERNEL_TABLE(isa_value, isa_name)                                                       \
  {                                                                                             \
    .isa = isa_value, .name = isa_name,                                                         \
    .rows = {ROW_KERNELS(f32), ROW_KERNELS(f16), ROW_KERNELS(bf16)},                            \
    .layer_norm = kernel_layer_norm, .rms_norm = kernel_rms_norm,                               \
    .activate = kernel_activate, .exponentiate = kernel_exponentiate, .softmax = kernel_softmax, \
    .reduce = kernel_reduce,                                                                    \
    .add = kernel_add, .pack_a = kernel_pack_a, .pack_a_bf16 = BF16_KERNEL(kernel_pack_a_bf16), \
    .coded_scores = kernel_coded_scores, .coded_halves = kernel_coded_halves,                   \
    .coded_round = kernel_coded_round, .coded_dot_rows = kernel_coded_dot_rows,                 \
    .coded_axpy_rows = kernel_coded_axpy_rows, .coded_mlp_rows = kernel_coded_mlp_rows,         \
    .coded_widen = kernel_coded_widen, .coded_gemm = kernel_coded_gemm,                         \
    .read_plain = kernel_read_plain, .read_prefetching = kernel_read_prefetching,               \
    .gemm_tile_tokens = GEMM_MR                                                                 \
  }
