// Makes the kernels of in_step.h for every stored type.
#undef ELEM
#undef LOADV
#undef STOREV
#undef NAME

#define ELEM float
#define LOADV vload
#define TYPE DEJAVU_F32
#define NAME(base) base##_f32
#include "in_step.h"
#undef ELEM
#undef LOADV
#undef TYPE
#undef NAME

#define ELEM uint16_t
#define LOADV vload_f16
#define TYPE DEJAVU_F16
#define NAME(base) base##_f16
#include "in_step.h"
#undef LOADV
#undef TYPE
#undef NAME

#define LOADV vload_bf16
#define TYPE DEJAVU_BF16
#define NAME(base) base##_bf16
#include "in_step.h"

#define IN_STEP_KERNELS(suffix) \
  { .dot_rows = dot_rows_in_step_##suffix, .mlp_rows = mlp_rows_in_step_##suffix }
