// What kernels that train predictors are given: the same text for the host and for NVRTC, where it
// stands behind the other arguments.
#ifndef DEJAVU_CUDA_TRAINING_H
#define DEJAVU_CUDA_TRAINING_H

#ifndef DEJAVU_CUDA_ARGUMENTS_H
#include "dejavu_cuda_arguments.h"
#endif

/// counts[c] += how many of `count` codes are c.
typedef struct {
  /// uint8 `[count]`; int `[256]`.
  dv_address codes, counts;
  int count;
  int unused;
} dv_count_arguments;

/// Logits `[T, stride]` become gradients; rows that are not there become 0.
typedef struct {
  /// float `[T, stride]`; uint8 `[T, rows]`; float `[256]`, a row's weight by its code.
  dv_address logits, codes, weights;
  /// float `[shown, 2]`: sums of loss and of weights.
  dv_address losses;
  int rows, stride, shown;
  /// The least code of a positive row.
  int positive;
} dv_loss_arguments;

/// Sums of columns.
typedef struct {
  dv_address values, out;
  int tokens, width, stride;
  int unused;
} dv_sum_arguments;

/// `[T, width]` to `[width, T]`.
typedef struct {
  dv_address values, out;
  int tokens, width, stride, out_stride;
} dv_transpose_arguments;

/// AdamW on `count` weights, the first `decaying` of which shrink by `decay` of themselves.
typedef struct {
  dv_address values, first, second, gradient;
  int count, decaying;
  /// `rate` is divided by what the first moment lacks; `correction` is what the second one lacks.
  float rate, decay, beta1, beta2, correction;
  int unused;
} dv_adam_arguments;

#endif
