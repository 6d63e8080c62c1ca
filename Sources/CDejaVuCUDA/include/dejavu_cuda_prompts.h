// What kernels of a prompt are given: the same text for the host and for NVRTC, where it stands behind the
// other arguments.
#ifndef DEJAVU_CUDA_PROMPTS_H
#define DEJAVU_CUDA_PROMPTS_H

#ifndef DEJAVU_CUDA_ARGUMENTS_H
#include "dejavu_cuda_arguments.h"
#endif

/// Products of a prompt: out[t, n] = epilogue(Σ_k a[t, k] · b[n, k]), or · b[k, n].
typedef struct {
  dv_address a, b, bias, out, flag;
  int tokens, n, k, a_stride, b_stride, out_stride;
  /// −1 for none.
  int activation;
  int unused;
} dv_product_arguments;

/// to[t] = from[t] in 16 bits, or σ(from[t]), or from[t] · σ(gates[t]); zeros from the width to `to_stride`.
typedef struct {
  dv_address from, gates, to;
  /// Gates lie as far apart as what they meet.
  int width, from_stride, to_stride;
  /// −1 for none.
  int activation;
} dv_narrow_arguments;

/// to[r] = rows of codes, as halves, every column of their blocks.
typedef struct {
  dv_address rows, to;
  int padded, row_count, row_stride, to_stride;
} dv_decode_arguments;

/// Sets a flag where one of so many floats is not finite.
typedef struct {
  dv_address values, flag, count;
} dv_look_arguments;

/// Rotates queries in place, rotates and stores keys, stores values.
typedef struct {
  /// float `[T, stride]`: queries, keys and values behind each other.
  dv_address projected, keys, values, settled, cosines, sines;
  int stride, heads, groups, head, padded_head, capacity, rotary_half, position, tokens;
  int unused;
} dv_store_arguments;

/// Causal attention of a prompt's tokens.
typedef struct {
  dv_address projected, keys, values, slopes, context;
  /// The context in 16 bits instead of floats, for caches of halves; 0 where it is floats.
  dv_address rounded;
  int rounded_stride;
  /// Whether that is bfloat16, not halves.
  int is_brain;
  int stride, context_stride, head, padded_head, heads_per_group, capacity, position, tokens;
  int sliding_window;
  float scale;
} dv_prompt_arguments;

/// values[t, r · lanes ...] = 0 for rows that token t did not choose.
typedef struct {
  dv_choice rows;
  dv_address values, counter;
  int stride, lanes;
  /// Whether values have 16 bits, not 32.
  int is_short;
  int unused;
} dv_mask_arguments;

/// up[t, n] = up[t, n] · gate[t, n], or σ(values) in place where there is no gate.
typedef struct {
  dv_address values, gates;
  int stride, width, activation;
  int unused;
} dv_activate_arguments;

#endif
