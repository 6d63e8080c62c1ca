// What each kernel is given: one structure by value, the same text for the host and for NVRTC.
//
// Pointers are device addresses in 64 bits. Strides count elements unless they say bytes. No
// structure holds anything that changes from token to token: tokens, positions, counts and lists
// are read through the addresses, so that a recorded step is right for every later one. Launches are compared
// byte by byte: `unused` names the bytes that would have no name (padding.c).
#ifndef DEJAVU_CUDA_ARGUMENTS_H
#define DEJAVU_CUDA_ARGUMENTS_H

typedef unsigned long long dv_address;

/// How a vector is normalised while it is read.
typedef struct {
  /// `[width]` floats; 0 where there is none.
  dv_address weight, bias;
  /// float `[tiles, 2]`: of every tile of the vector its sum, and the squares of the distances from its own
  /// mean; 0 where nobody has them.
  dv_address tiles;
  float epsilon;
  /// 0 as it is, 1 less the mean and by the deviation, 2 by the root mean square.
  int kind;
  int tile_width;
  int unused;
} dv_norm;

/// The rows of a choice: `count` of them, or as many as the address says.
typedef struct {
  /// int; 0 means that `all` rows are taken.
  dv_address count;
  /// int32 `[count]`, ascending; 0 means 0, 1, 2, ...
  dv_address list;
  int all;
  /// int32s from one token's list to the next.
  int stride;
  /// Whether the list was written at least two launches ago: it may be read before inputs are
  /// awaited.
  int early;
  int unused;
} dv_choice;

/// scores[t, r] = (codes[r] · x̂[t] + bias[r]) · gain[r], x̂ being x in 8 bits.
typedef struct {
  /// Floats, or 8 bits where they were prepared (score.cu).
  dv_address x, rounded;
  /// `[rows]` codes of whole blocks of 128 columns, and as many rows of scales.
  dv_address codes, scales, bias, gain, scores;
  /// One bit for each row above the threshold; 0 where only scores are wanted.
  dv_address bits_above;
  /// Where the same launch lists them: a ticket that is zero between launches, and a choice's count
  /// and list; 0 where a later one does.
  dv_address ticket, count, list;
  int width, columns, rows, bits, x_stride, rounded_stride, score_stride;
  /// Blocks before this one's, and its own.
  int first_block, blocks;
  float threshold;
  /// Whether `rounded` was written at least two launches ago, and blocks of the launch beside these await theirs.
  int early;
  int unused;
} dv_score_job;

/// Choosers that read at the same time.
enum { dv_score_jobs = 4 };
typedef struct {
  dv_score_job jobs[dv_score_jobs];
  int count;
  int unused;
} dv_score_arguments;

/// Lists the rows whose bits are set.
typedef struct {
  dv_address bits_above, count, list;
  int rows;
  int unused;
} dv_list_job;

/// out[t] = table[ids[t] + offset], or added to what is there.
typedef struct {
  dv_address table, ids, out;
  int table_stride, out_stride, width, offset, adds;
  int unused;
} dv_embed_arguments;

/// out[t] = norm(x[t]), and the same in 16 bits where `rounded` is not 0.
typedef struct {
  dv_norm norm;
  dv_address x, out, rounded;
  int width, stride, rounded_stride;
  /// Whether they are bfloat16, not halves.
  int is_brain;
} dv_normalize_arguments;

/// x[t] += Σ_s parts[s][t] + bias.
typedef struct {
  dv_address x, parts, bias;
  /// float `[tiles, 2]` of 128 columns each, as norms want them; 0 where nobody asks.
  dv_address tiles;
  int width, stride, slices, part_stride;
  /// Lists that are made beside the sums.
  dv_list_job lists[dv_score_jobs];
} dv_add_arguments;

/// norm(x[t]), for all who read it: each of three forms where its address is not 0.
typedef struct {
  dv_norm norm;
  dv_address x;
  /// floats in the order that kernels keep vectors in, and in the cache's type; of the first token.
  dv_address floats, kept;
  /// In 8 bits for choosers (score.cu), `[tokens, rounded_stride]` bytes; `columns` is a multiple of 128.
  dv_address rounded;
  /// For weights in codes: two signed bytes of every element, and steps; of the first token.
  dv_address planes;
  int width, x_stride, columns, rounded_stride;
  /// Whether weights are stored in 16 bits, eight to a piece.
  int by_eight;
  int unused;
} dv_prepare_job;

enum { dv_prepare_jobs = 5 };
typedef struct {
  dv_prepare_job jobs[dv_prepare_jobs];
} dv_prepare_arguments;

/// Tiles of the widest stream that one launch renews.
enum { dv_renew_tiles = 128 };

/// A sum, and what is read of its stream next; `blocks` take `columns` each, a multiple of 128.
typedef struct {
  dv_add_arguments sum;
  dv_prepare_job jobs[dv_prepare_jobs];
  /// `[tiles, 2]` numbers of 64 bits, zero before the launch: what blocks leave for each other; and those of
  /// the next such launch, which this one clears.
  dv_address marks, next_marks;
  int job_count, blocks, columns;
  int unused;
} dv_renew_arguments;

/// Warps that compute tiles of queries, keys and values together, of halves and of codes; and what each has
/// room for of halves: 4096 bytes.
enum { dv_tile_warps = 16 };
enum { dv_code_tile_warps = 12 };
enum { dv_tile_bytes = 4096 };

/// Threads of a block that multiplies single rows of codes, four to a warp, and of one that sums such rows.
enum { dv_row_threads = 384 };
enum { dv_sum_threads = 256 };

/// Queries of the chosen groups, keys and values of those and of what they owe; x is in the cache's
/// type.
typedef struct {
  dv_choice groups;
  dv_address x, positions;
  dv_address query, key, value, query_bias, key_bias, value_bias;
  /// float `[H · h]`, not yet rotated.
  dv_address queries;
  /// This layer's cache: `[group, position, padded_head]`.
  dv_address keys, values;
  /// `[window, kept_stride]` in the cache's type, and int `[K]`.
  dv_address kept, settled;
  /// float `[position, rotary_half]`.
  dv_address cosines, sines;
  /// int `[4]` of this layer.
  dv_address counters;
  int width, padded_width, row_stride;
  int head, padded_head, heads_per_group, group_count;
  int capacity, window, kept_stride, turn, rotary_half;
  /// Positions before this one whose inputs a block of tensor cores holds itself.
  int recent;
  /// Whether only what is owed before the position is computed, for all groups.
  int settles_only;
} dv_project_arguments;

/// Attention of one token over the cache, cut into `splits` parts.
typedef struct {
  dv_choice groups;
  dv_address positions, queries, keys, values, settled, cosines, sines, slopes;
  /// float `[H, splits, padded_head + 2]`: greatest score, sum of powers, weighted values.
  dv_address parts;
  int head, padded_head, heads_per_group, group_count, capacity, window, turn, rotary_half, splits;
  /// Positions that are seen; 0 means all.
  int sliding_window;
  float scale;
  /// What is scored beside it, in so many planes of blocks before those that attend.
  int rider_planes;
  dv_score_arguments riders;
} dv_attend_arguments;

/// What a block that sums rows of codes shares, at most; see groupwise_sums.cu.
enum { dv_segment_bytes = 45056 };

/// context[i · h + lane] from the parts of attention.
typedef struct {
  dv_address positions, parts, context;
  int heads, head, padded_head, splits, sliding_window;
  int unused;
} dv_context_arguments;

/// parts[s] = Σ over a slice of the chosen groups' lanes of context[lane] · output[lane].
typedef struct {
  dv_choice groups;
  /// The context comes from the parts of attention.
  dv_context_arguments context;
  dv_address output, out;
  int row_stride, padded_width, out_stride, heads_per_group;
  /// What is scored beside it, in so many planes of blocks before those that sum.
  int rider_planes;
  /// Slices of the grid that are used where at most half of the groups are chosen; 0 uses all.
  int few_slices;
  dv_score_arguments riders;
} dv_output_arguments;

/// values[entry] = σ(x · up[n] + b), or σ(x · gate[n] + b) · (x · up[n] + b); x is prepared.
typedef struct {
  dv_choice neurons;
  dv_address x, bundle, up_bias, gate_bias, values, products, counters;
  /// Where the list is written by the launch before: bits of its rows, which were there earlier; else 0.
  dv_address bits;
  int width, padded_width, row_stride, rows_per_neuron, activation;
  /// Room for a block's own entries, a multiple of 4.
  int entries;
} dv_up_arguments;

/// parts[s] = Σ over a slice of the chosen neurons of values · down[n].
typedef struct {
  dv_choice neurons;
  dv_address values, bundle, out;
  int padded_width, row_stride, rows_per_neuron, out_stride;
  /// 0 reads every row, 1 none whose value is 0, 2 knows that nearly none is.
  int skips;
  /// Whether a value stands at its neuron's number and not at its entry's.
  int values_by_row;
} dv_down_arguments;

/// y[r] = x · matrix[r].
typedef struct {
  dv_address x, matrix, y;
  /// int, set to 1 when a result is not finite; 0 where nobody asks.
  dv_address flag;
  int width, padded_width, row_stride, rows;
} dv_rows_arguments;

/// How the next token is drawn; read through an address, so that a recorded step serves every rule.
typedef struct {
  /// What logits are divided by, above 0, and how far below the greatest they may lie.
  float temperature, span;
  /// Of the weight, what the likeliest tokens must hold together; 1 keeps all.
  double share;
  dv_address seed;
  /// Of the likeliest tokens, how many are kept; 0 keeps all.
  int keep;
  int unused;
} dv_token_rule;

/// Chooses the token behind the logits of one position.
typedef struct {
  /// float `[V]`; a rule.
  dv_address logits, rule;
  /// Keys `[blocks]`, of every block's likeliest token.
  dv_address likeliest;
  /// int and 64 bits `[1024]`, zero between steps: tokens by their distance from the likeliest, and their
  /// weights; 16 bits `[V]`, the bin of each; and room for `[V]` keys.
  dv_address counts, weights, bins, list;
  /// Where the next step finds its token and position.
  dv_address token, position;
  /// The step's flag and counters, and host memory for them and the token, in two places.
  dv_address results, reports;
  int vocabulary, blocks, result_words, report_stride;
  /// 0 takes the likeliest token.
  int draws;
  int unused;
} dv_token_arguments;

/// Lists the rows whose scores are above a threshold, or above the highest left out.
typedef struct {
  dv_address scores, counts, lists;
  /// float: the score that was to be exceeded; 0 where nobody asks.
  dv_address level;
  int rows, score_stride, list_stride;
  /// 0 takes the threshold.
  int keep;
  float threshold;
  /// Whether all of a token's scores find room in the launch's shared memory.
  int fits;
} dv_select_arguments;

/// sizes[t, n] = |values[t, n]| · ‖down[n]‖.
typedef struct {
  dv_address values, bundle, sizes;
  int neurons, width, row_stride, rows_per_neuron, value_stride, size_stride;
} dv_neuron_size_arguments;

/// sizes[t, g] = ‖Σ_lane context[t, g, lane] · output[g, lane]‖.
typedef struct {
  dv_address context, output, sizes;
  int lanes, width, row_stride, context_stride, size_stride;
  int unused;
} dv_group_size_arguments;

/// Copies a list that the host wrote to every token of a batch.
typedef struct {
  /// Host memory that the device reads: count, then the list.
  dv_address source;
  dv_address counts, lists;
  int list_stride;
  int unused;
} dv_assign_arguments;

/// settled[i] = min(settled[i], count).
typedef struct {
  dv_address settled;
  int entries, count;
} dv_clip_arguments;

/// Copies the first positions of every plane of a cache, in 16-byte pieces.
typedef struct {
  dv_address from, to;
  int from_stride, to_stride, pieces;
  int unused;
} dv_fork_arguments;

/// words[i] = 0; what a cache has settled is copied to where a step that should not have run finds it.
typedef struct {
  dv_address words;
  /// int `[entries]`.
  dv_address settled, saved;
  /// Marks of the step's sums, `[mark_count]` words more.
  dv_address marks;
  int count, entries, mark_count;
  int unused;
} dv_clear_arguments;

/// Reads 16-byte pieces and keeps nothing: what the card's memory gives.
typedef struct {
  dv_address from, out;
  dv_address pieces;
} dv_read_arguments;

/// Random numbers as `SyntheticRecipe` makes them, in rows with padding.
typedef struct {
  dv_address to, seed;
  dv_address rows;
  int columns, stride;
  float constant, spread;
} dv_fill_arguments;

/// Random codes and one scale for all groups, in every `row_step`-th row.
typedef struct {
  dv_address to, seed;
  dv_address rows;
  /// Bytes from one row to the next, and of a row's codes.
  int row_stride, code_bytes;
  int groups, first_row, row_step;
  float scale;
} dv_fill_codes_arguments;

#endif
