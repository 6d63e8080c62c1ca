// Whole blocks on a thread team: what the CPU backend's verbs are made of.
#pragma once
#include "dejavu_kernels.h"

#if defined(__clang__)
#pragma clang assume_nonnull begin
#endif

// Weights of a type are plain, DEJAVU_F32 and on, or coded, DEJAVU_CODED(...). Products with coded
// rows take vectors rounded to 16 bits, or 8 (DEJAVU_NARROW): wherever a `rounded` is asked for, it
// is room for dejavu_rounded_bytes of each vector, and may be NULL where weights are plain.

/// Rounds one vector for products with coded rows; nothing for plain ones.
void dejavu_round(const dejavu_kernels *kernels, int32_t weight_type, void *_Nullable rounded,
                  const float *x, size_t d);
/// The MLP of list entries first..<first + count; returns the rows read.
dejavu_rows_read dejavu_mlp_rows(const dejavu_kernels *kernels, int32_t weight_type,
                                 const dejavu_mlp_job *job, const void *_Nullable rounded,
                                 size_t first, size_t count, float *acc);
/// acc[c] += Σ_r a[r] · w[r, c] for columns first..<end of rows of d; first is at a multiple of 128
/// where the rows are coded. `w` is row `row` of its matrix; where rows share scales, acc has room
/// for 2 · d. `next`: where rows lie that are read afterwards, or NULL.
void dejavu_add_rows(const dejavu_kernels *kernels, int32_t weight_type, float *acc,
                     const void *w, size_t w_stride, const float *a, size_t rows,
                     const void *_Nullable next, size_t first, size_t end, size_t d,
                     dejavu_scale_rows scales, size_t row);
/// Row `row` of a matrix, d columns as floats; `w` is where it lies.
void dejavu_widen_row(const dejavu_kernels *kernels, int32_t weight_type, float *out,
                      const void *w, size_t d, dejavu_scale_rows scales, size_t row);

/// Nanoseconds that a thread spent in attention blocks, and in their reading of the cache alone.
typedef struct {
  uint64_t all, cache;
  /// Each thread writes a cache line of its own.
  uint64_t padding[6];
} dejavu_attention_time;

/// One token's attention over a set of key/value groups.
///
/// For each group of the list: queries of its heads; keys and values of every position the group
/// still owes, from the kept inputs; attention over the group's cache; its output rows.
/// The contribution of list positions s · n / slices ..< (s + 1) · n / slices is summed in
/// acc[s], so that the result does not depend on the number of threads.
typedef struct {
  const dejavu_kernels *_Nullable kernels;
  int32_t weight_type, cache_type;
  /// [group][heads per group · h] rows for query and output, [group][h] for key and value.
  const void *_Nullable query;
  const void *_Nullable key;
  const void *_Nullable value;
  const void *_Nullable output;
  /// Scales of coded output rows, where they share them.
  dejavu_scale_rows output_scales;
  size_t row_stride;
  const float *_Nullable query_bias;
  const float *_Nullable key_bias;
  const float *_Nullable value_bias;
  size_t d, h, padded_h, heads_per_group;
  /// Input of this token, [d].
  const float *_Nullable x;
  /// Inputs kept for groups that owe: position p is row p % window of [window, kept_stride].
  const float *_Nullable kept;
  size_t kept_stride, window;
  /// Coded weights: `window`, or one, rounded vectors; that of position p is p % window.
  void *_Nullable rounded;
  /// First owed position of every group; NULL when every group owes this position only.
  const int32_t *_Nullable settled;
  /// Cache: group g, position p at (g · capacity + p) · padded_h elements.
  void *_Nullable keys;
  void *_Nullable values;
  size_t capacity, position, first_visible;
  /// [position, rotary_half]; NULL without rotary positions.
  const float *_Nullable cosines;
  const float *_Nullable sines;
  size_t rotary_half;
  float scale;
  /// One per query head; NULL without ALiBi.
  const float *_Nullable slopes;
  /// Active groups, ascending; NULL means groups 0..<count.
  const int32_t *_Nullable list;
  size_t count, slices;
  /// Per slice, d floats; 2 · d where output rows share scales.
  float *_Nullable acc;
  size_t acc_stride;
  /// Per list position, dejavu_attention_scratch floats.
  float *_Nullable scratch;
  size_t scratch_stride;
  /// Per thread, where the block's time went; NULL, as it mostly is, reads no clock.
  dejavu_attention_time *_Nullable times;
} dejavu_attention_job;

/// Floats of scratch that one group needs with at most `owed` owed positions and `capacity`.
size_t dejavu_attention_scratch(size_t padded_h, size_t heads_per_group, size_t owed,
                                size_t capacity);
/// Computes the block: afterwards acc[0..<slices] hold the parts of its contribution.
void dejavu_attention_block(dejavu_team *team, const dejavu_attention_job *job, size_t threads);
/// Computes only the keys and values that the listed groups owe.
void dejavu_attention_settle(dejavu_team *team, const dejavu_attention_job *job);

/// One token's MLP over `count` entries of the job's list, in `slices` parts.
/// rows_read[s] are the rows that part s read; acc[s] is as in the attention job.
void dejavu_mlp_block(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                      const dejavu_mlp_job *job, size_t count, size_t slices, float *acc,
                      size_t acc_stride, dejavu_rows_read *rows_read, void *_Nullable rounded);

/// out[i] = Σ_s acc[s, i] for i < n, in ascending s.
void dejavu_reduce_parts(dejavu_team *team, const dejavu_kernels *kernels, float *out,
                         const float *acc, size_t acc_stride, size_t slices, size_t n);

/// y[t · y_stride + r] = w[r] · x[t] for a few tokens, rows shared among the team.
void dejavu_project_rows(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                         float *y, size_t y_stride, const void *w, size_t w_stride, size_t rows,
                         const float *x, size_t x_stride, size_t tokens, size_t d,
                         void *_Nullable rounded);

/// Packs A for `dejavu_product`, panels shared among the team.
void dejavu_pack_tokens(dejavu_team *team, const dejavu_kernels *kernels, int32_t in_bf16,
                        void *packed, const float *a, size_t a_stride, size_t tokens, size_t k);
/// C[t, n] (+)= A · B for n < columns, strips of columns shared among the team.
/// scratch: dejavu_gemm_scratch bytes per thread.
void dejavu_product(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                    int32_t in_bf16, const dejavu_gemm_job *job, size_t columns, void *scratch);
/// As `dejavu_product`, for `count` jobs at once: the strips of one small product keep few threads busy.
void dejavu_products(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                     int32_t in_bf16, const dejavu_gemm_job *jobs, size_t count, size_t columns,
                     void *scratch);

/// Causal attention of consecutive tokens of one sequence, in float32.
typedef struct {
  const dejavu_kernels *_Nullable kernels;
  int32_t cache_type;
  size_t h, padded_h, heads_per_group, groups;
  /// [tokens, q_stride]: head i's query at lanes i · h ..< (i + 1) · h, rotated.
  const float *_Nullable queries;
  size_t q_stride, tokens;
  /// Position of the first token; the cache already holds all of `tokens`.
  size_t first_position, capacity;
  const void *_Nullable keys;
  const void *_Nullable values;
  /// Positions that a token sees at most, itself included; 0 means all.
  size_t sliding_window;
  float scale;
  const float *_Nullable slopes;
  /// [tokens, context_stride], laid out as the queries.
  float *_Nullable context;
  size_t context_stride;
  /// Per thread, dejavu_prompt_attention_scratch floats.
  float *_Nullable scratch;
  size_t scratch_stride;
  /// [heads, tokens, weights_stride]: what every position's value is weighted by, positions from 0,
  /// zeros where nothing is seen; null where nobody looks. The stride holds all positions.
  float *_Nullable weights;
  size_t weights_stride;
} dejavu_prompt_attention_job;

size_t dejavu_prompt_attention_scratch(const dejavu_kernels *kernels, size_t padded_h,
                                       size_t capacity);
void dejavu_prompt_attention(dejavu_team *team, const dejavu_prompt_attention_job *job);

/// Turns lanes i and i + half of one head by the position's angles, in place.
void dejavu_rotate(float *head, const float *cosines, const float *sines, size_t half);

/// Widens, or copies, `rows` rows of weights between layouts: element (r, c) is read at
/// from + (r / block_rows · block_stride + r % block_rows · row_stride + c · column_stride)
/// elements and written to to + r · to_stride bytes. Types as DEJAVU_F32...
typedef struct {
  const void *from;
  int32_t from_type, to_type;
  size_t block_rows, block_stride, row_stride, column_stride;
  void *to;
  size_t to_stride, columns;
} dejavu_copy_job;
void dejavu_copy_rows(const dejavu_kernels *kernels, const dejavu_copy_job *job, size_t first,
                      size_t count);

/// Chooses rows for several tokens by their groupwise scores.
typedef struct {
  const dejavu_kernels *_Nullable kernels;
  dejavu_groupwise weights;
  size_t rows;
  /// [tokens, x_stride]
  const float *_Nullable x;
  size_t x_stride, tokens;
  /// A row is chosen if its score is above this; with `keep` > 0 the `keep` highest are instead.
  float threshold;
  size_t keep;
  /// [tokens, rows] ascending rows, and how many of each.
  int32_t *_Nullable lists;
  size_t *_Nullable counts;
  /// Per token [rows] scores, then the rounded vector: dejavu_choose_scratch floats.
  float *_Nullable scratch;
  size_t scratch_stride;
} dejavu_choose_job;

/// Floats of scratch for one token.
size_t dejavu_choose_scratch(size_t rows, size_t d);
/// One token's rows are shared among the team; several tokens are shared out whole.
void dejavu_choose(dejavu_team *team, const dejavu_choose_job *job);

/// Whether a choice can be made in two halves: one token's rows above a threshold.
int32_t dejavu_choose_waits(const dejavu_choose_job *job);
/// The first half: keeps a rounded copy of the stream, which may change afterwards.
void dejavu_choose_begin(const dejavu_choose_job *job);
/// The second half, on its own.
void dejavu_choose_finish(dejavu_team *team, const dejavu_choose_job *job);
/// The second half and the MLP block of the chosen neurons: a thread scores a range of them, lists
/// those above the threshold and computes them at once, so that nobody waits for the whole list.
/// Part s of the contribution is that of neurons s · F / slices ..< (s + 1) · F / slices; at most
/// F / 2 slices. `job`'s list is not read.
void dejavu_chosen_mlp_block(dejavu_team *team, int32_t weight_type,
                             const dejavu_choose_job *choice, const dejavu_mlp_job *job,
                             size_t slices, float *acc, size_t acc_stride,
                             dejavu_rows_read *rows_read, void *_Nullable rounded);

/// The (keep + 1)-th greatest of v[0..<count], which are reordered: what a choice of the `keep`
/// greatest has to lie above; −∞ where it leaves none out.
float dejavu_greatest_left_out(float *v, size_t count, size_t keep);

/// y[t, r] = (w[r] · x[t] + bias[r]) · gain[r] for all rows and tokens; scratch as in a choice.
typedef struct {
  const dejavu_kernels *_Nullable kernels;
  dejavu_groupwise weights;
  size_t rows;
  const float *_Nullable x;
  size_t x_stride, tokens;
  float *_Nullable y;
  size_t y_stride;
  float *_Nullable scratch;
  size_t scratch_stride;
} dejavu_groupwise_job;
void dejavu_groupwise_project(dejavu_team *team, const dejavu_groupwise_job *job);

/// Rounds one row of d floats, a multiple of 64, to a symmetric coded one in groups of 64, by the scale
/// with the least squared error among a few shrunk ones; `out` holds dejavu_groupwise_bytes.
void dejavu_quantize_row(void *out, const float *row, size_t d, int32_t bits);

#if defined(__clang__)
#pragma clang assume_nonnull end
#endif
