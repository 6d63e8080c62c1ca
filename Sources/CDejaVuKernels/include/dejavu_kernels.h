// CPU kernels of DejaVu and the thread team that runs them.
//
// Dims, here and in every kernel: d width of a row in elements, a multiple of 32 (rows and vectors
// are padded with zeros); h width of a head, padded to a multiple of 16; T tokens; S positions.
// Strides of weights are in bytes, strides of float vectors in floats.
#pragma once
#include <stddef.h>
#include <stdint.h>

#if defined(__clang__)
#pragma clang assume_nonnull begin
#endif

enum { DEJAVU_F32 = 0, DEJAVU_F16 = 1, DEJAVU_BF16 = 2, DEJAVU_DTYPES = 3 };
enum { DEJAVU_RELU = 0, DEJAVU_GELU = 1, DEJAVU_GELU_TANH = 2, DEJAVU_SILU = 3 };
enum { DEJAVU_SCALAR = 0, DEJAVU_NEON = 1, DEJAVU_AVX2 = 2, DEJAVU_AVX512 = 3, DEJAVU_ISAS = 4 };

/// Scales that neighbouring rows of codes share, one for each column: rows i · group and on have
/// those of row i, [d in whole blocks of 128 half scales][as many doubled zeros], zeros in two bytes
/// where codes have 8 bits. `base` is NULL where every row of codes has scales of its own.
typedef struct {
  const void *_Nullable base;
  size_t stride, group;
} dejavu_scale_rows;

/// Rows that a share of an MLP block has read: down rows, and rows of scales that they share.
typedef struct {
  size_t down, scales;
} dejavu_rows_read;

/// Codes in two halves: code = 2^bits · high + low, and each half is a coded row in groups of 64. A chooser
/// has read the high ones when the low ones of the chosen neurons are asked for.
typedef struct {
  /// [F][high_stride] coded rows, whose scales are 2^bits times those of the low ones.
  const void *_Nullable high;
  size_t high_stride;
  /// Bytes of the low row that a neuron's bundle begins with.
  size_t low_bytes;
  /// Columns of either row, a multiple of 64.
  size_t d;
  /// Bits of one half: 2 or 4.
  int32_t bits;
  /// x by `coded_round` for DEJAVU_CODED(bits, 1, 0).
  const void *_Nullable rounded;
} dejavu_nested;

/// What one share of an MLP block computes: for each neuron dot, bias, activation, axpy.
typedef struct {
  /// [F][rows per neuron][row_stride bytes]: up, down; or gate, up, down. Of nested rows the first
  /// one's low half.
  const void *bundle;
  size_t row_stride;
  size_t d;
  const float *x;
  const float *_Nullable up_bias;
  const float *_Nullable gate_bias;
  /// Neurons to compute, ascending; NULL means neuron i is row i.
  const int32_t *_Nullable list;
  int32_t gated;
  int32_t activation;
  /// Non-zero: a neuron whose |activation|, times the norm of its down row where `down_norms` are
  /// given, is at most `threshold` does not read its down row.
  int32_t skips;
  float threshold;
  const float *_Nullable down_norms;
  /// Non-zero: rows are scattered, so rows ahead in the list are prefetched into L2.
  int32_t scattered;
  /// Non-zero: the down row is prefetched with the up row, not once the activation is known. Rows in step
  /// do without: their down rows are known a pass ahead.
  int32_t prefetches_down;
  /// Scales of coded down rows, where neurons share them.
  dejavu_scale_rows down_scales;
  /// Coded rows: the first row of every neuron lies in two halves; NULL where it is whole.
  const dejavu_nested *_Nullable nested;
} dejavu_mlp_job;

/// What happens to a tile of a product while it is in the cache: C = act(C + bias).
typedef struct {
  /// One per column; NULL without.
  const float *_Nullable bias;
  /// DEJAVU_RELU …; negative leaves the sums as they are.
  int32_t activation;
} dejavu_epilogue;

/// One matrix product C[t, n] (+)= Σ_k A[t, k] · B, with A packed beforehand.
typedef struct {
  const void *packed_a;
  size_t tokens, k;
  /// by_rows: B[n][k] (a weight row per output); else B[k][n] (a weight row per input).
  const void *b;
  size_t b_stride;
  /// Scales of coded rows B[k], where they share them.
  dejavu_scale_rows scales;
  int32_t by_rows;
  int32_t accumulates;
  float *c;
  size_t c_stride;
  const dejavu_epilogue *_Nullable epilogue;
} dejavu_gemm_job;

/// Rows of a chooser: coded ones, symmetric, in groups of 64 columns.
enum { DEJAVU_GROUP = 64 };
typedef struct {
  const void *rows;
  /// Bytes from one row to the next.
  size_t stride;
  /// Columns, a multiple of 64.
  size_t d;
  /// 2, 4 or 8.
  int32_t bits;
  /// Added to a row's product, and what the sum is multiplied by.
  const float *_Nullable bias;
  const float *_Nullable gain;
} dejavu_groupwise;

/// Bytes of cached keys or values from those that are read to those that are asked for.
enum { DEJAVU_CACHE_AHEAD = 6144 };

/// Kernels over weights or cache entries of one stored type.
typedef struct {
  /// y[t · y_stride + r] = Σ_d w[r, d] · x[t, d]   for r < rows, t < tokens
  /// The order of each sum depends on d alone, so a token's result does not depend on its company.
  void (*dot_rows)(float *y, size_t y_stride, const void *w, size_t w_stride, size_t rows,
                   const float *x, size_t x_stride, size_t tokens, size_t d);
  /// acc[d] += Σ_r a[r] · w[r, d], summed in ascending r.
  void (*axpy_rows)(float *acc, const void *w, size_t w_stride, const float *a, size_t rows,
                    size_t d);
  /// acc[d] += Σ_i act(i) · down[i, d] for entries first..<first + count of the job's list.
  /// Returns the number of down rows read.
  size_t (*mlp_rows)(const dejavu_mlp_job *job, size_t first, size_t count, float *acc);
  /// scores[s] = scale · q · k[s] + slope · s   for s < count; returns the greatest score. What is read
  /// `next`, if anything, is asked for near the end.
  float (*scores)(float *scores, const float *q, const void *keys, size_t count, size_t h,
                  float scale, float slope, const void *_Nullable next);
  /// out[h] = Σ_s p[s] · v[s], summed in a fixed order.
  void (*weigh)(float *out, const float *p, const void *values, size_t count, size_t h,
                const void *_Nullable next);
  void (*widen)(float *out, const void *in, size_t count);
  void (*narrow)(void *out, const float *in, size_t count);
  /// One strip n0..<n0 + count of a product in float32; scratch holds dejavu_gemm_scratch bytes.
  void (*gemm)(const dejavu_gemm_job *job, size_t n0, size_t count, float *scratch);
  /// The same with operands rounded to bfloat16; NULL where the machine has no such product.
  void (*_Nullable gemm_bf16)(const dejavu_gemm_job *job, size_t n0, size_t count,
                              float *scratch);
} dejavu_row_kernels;

/// Types of weights beyond DEJAVU_DTYPES: rows of codes (`GroupwiseFormat`, kernels/coded.h), in
/// `bits` 2, 3, 4, 6 or 8 with a scale for 32 << `group` columns.
#define DEJAVU_CODED(bits, group, has_zeros) (1 << 16 | (bits) << 3 | (group) << 1 | (has_zeros))
/// Added to such a type: vectors and factors are rounded to 8 bits, not to 16; rows are codes alone,
/// whose scales come in rows of their own (what lies behind the codes is not read).
enum { DEJAVU_NARROW = 1 << 8, DEJAVU_SHARED = 1 << 9 };
static inline int32_t dejavu_is_coded(int32_t weight_type) { return weight_type >> 16 & 1; }
/// Bytes of a symmetric coded row of d columns in groups of 64: codes and scales of whole blocks.
static inline size_t dejavu_groupwise_bytes(size_t d, int32_t bits) {
  return (d + 127) / 128 * (16 * (size_t)bits + 4);
}
/// Bytes of a vector of d lanes rounded by `coded_round`, for any format.
static inline size_t dejavu_rounded_bytes(size_t d) {
  size_t blocks = (d + 127) / 128;
  return blocks * 256 + 2 * ((4 * blocks + 15) / 16 * 16) * sizeof(float);
}

typedef struct {
  int32_t isa;
  const char *name;
  dejavu_row_kernels rows[DEJAVU_DTYPES];
  /// out = (x − mean) / √(var + ε) · weight + bias over n lanes; lanes n..<padded become 0.
  void (*layer_norm)(float *out, const float *x, const float *_Nullable weight,
                     const float *_Nullable bias, float epsilon, size_t n, size_t padded);
  /// out = x / √(mean(x²) + ε) · weight.
  void (*rms_norm)(float *out, const float *x, const float *_Nullable weight, float epsilon,
                   size_t n, size_t padded);
  /// x[i] = act(x[i]).
  void (*activate)(float *x, size_t count, int32_t activation);
  /// scores[s] = exp(scores[s] − max); returns the sum.
  float (*exponentiate)(float *scores, size_t count, float max);
  /// Softmax in place of scores[s] · scale + slope · (position + s).
  void (*softmax)(float *scores, size_t count, float scale, float slope, size_t position);
  /// out[i] = Σ_p parts[p · stride + i], summed in ascending p.
  void (*reduce)(float *out, const float *parts, size_t stride, size_t count_parts, size_t n);
  /// x[i] += y[i] + bias[i].
  void (*add)(float *x, const float *y, const float *_Nullable bias, size_t n);
  /// Packs tokens × k floats for `gemm`; `dejavu_packed_a_bytes` says how large.
  void (*pack_a)(void *out, const float *a, size_t a_stride, size_t tokens, size_t k);
  void (*_Nullable pack_a_bf16)(void *out, const float *a, size_t a_stride, size_t tokens,
                                size_t k);
  /// scores[r] = (w[r] · x + bias[r]) · gain[r] for rows first..<first + count; x by `coded_round` for
  /// DEJAVU_CODED(bits, 1, 0) | DEJAVU_NARROW. A row's score does not depend on its company.
  void (*coded_scores)(float *scores, const dejavu_groupwise *w, const void *x, size_t first,
                       size_t count);
  /// Rounds x to 16 bits, or 8, with a step per group, as products with rows of this format want it.
  void (*coded_round)(void *out, const float *x, size_t d, int32_t format);
  /// `dot_rows` of coded rows with rounded vectors; x_stride in bytes. `next`: where rows lie that are read
  /// afterwards, so that they are asked for, or NULL; here and in `coded_axpy_rows`.
  void (*coded_dot_rows)(float *y, size_t y_stride, const void *w, size_t w_stride, size_t rows,
                         const void *_Nullable next, const void *x, size_t x_stride, size_t tokens,
                         size_t d, int32_t format);
  /// acc[c] += Σ_r a[r] · w[r, c] for columns first..<end, first at a block of 128 columns. Where
  /// rows share scales, w is row `row` of the matrix, and behind acc[d] lies room for d floats more,
  /// in which codes are summed.
  void (*coded_axpy_rows)(float *acc, const void *w, size_t w_stride, const float *a, size_t rows,
                          const void *_Nullable next, size_t first, size_t end, size_t d,
                          int32_t format, dejavu_scale_rows scales, size_t row);
  /// `mlp_rows` of coded rows; `rounded` is the job's x; acc as in `coded_axpy_rows`.
  dejavu_rows_read (*coded_mlp_rows)(const dejavu_mlp_job *job, int32_t format,
                                     const void *rounded, size_t first, size_t count, float *acc);
  /// out = columns first..<end of a row, exactly; both are multiples of 16. `scales` is the row of
  /// scales that it shares, or NULL.
  void (*coded_widen)(float *out, const void *row, size_t first, size_t end, size_t d,
                      int32_t format, const void *_Nullable scales);
  /// Parts a coded row of d columns, symmetric, 2 · bits a code, into two rows of `bits` in groups of 64, of
  /// `columns`, a multiple of 64: dejavu_groupwise_bytes each. Returns what the high one is best multiplied
  /// by to stand for both; NaN where a scale is too great to be multiplied by 2^bits.
  float (*coded_halves)(void *high, void *low, const void *row, size_t d, size_t columns,
                        int32_t format);
  /// `gemm` where B is coded rows of d columns.
  void (*coded_gemm)(const dejavu_gemm_job *job, int32_t format, size_t d, size_t n0, size_t count,
                     float *scratch);
  /// Sums of the memory at p, for measuring bandwidth: plain, and with prefetching.
  uint64_t (*read_plain)(const void *p, size_t bytes);
  uint64_t (*read_prefetching)(const void *p, size_t bytes);
  /// Tokens of one tile of a product: panels of packed A are this tall.
  size_t gemm_tile_tokens;
} dejavu_kernels;

/// The kernels for one instruction set, or NULL where this machine (or build) lacks it.
const dejavu_kernels *_Nullable dejavu_kernels_for(int32_t isa);

/// 1 when none of x[0..<n] is infinite or NaN.
int32_t dejavu_all_finite(const float *x, size_t n);

/// Scratch for one thread's `gemm`, in bytes.
size_t dejavu_gemm_scratch(void);
/// Size of packed A in bytes, enough for either kind of product.
size_t dejavu_packed_a_bytes(const dejavu_kernels *kernels, size_t tokens, size_t k);

// Thread team ------------------------------------------------------------------------------------

typedef struct dejavu_team dejavu_team;
/// Does one chunk of a job. `thread` is below the team's size and unique among running chunks.
typedef void (*dejavu_task)(void *context, size_t chunk, size_t thread);

/// A team of `threads` threads, the caller's included; NULL if they cannot be started.
dejavu_team *_Nullable dejavu_team_create(size_t threads);
void dejavu_team_destroy(dejavu_team *team);
/// Runs chunks 0..<chunks, each exactly once, claimed one by one; returns when all are done.
/// Waiting threads spin briefly and then sleep. Not reentrant.
void dejavu_team_run(dejavu_team *team, dejavu_task task, void *context, size_t chunks);

#if defined(__clang__)
#pragma clang assume_nonnull end
#endif
