// Causal attention of a prompt by tensor cores, for caches of halves.
//
// A block takes 64 queries of one head, 16 to a warp, and goes once over the keys and values that any of
// them sees, a tile at a time: a warp keeps of each query the greatest score so far, the sum of powers
// and the weighted values, and corrects them when a greater score comes. While the scores of one tile are
// computed its values are on their way, and the next tile's keys while values are weighed.

enum {
  prompt_queries = 64,
  /// Wide heads leave registers for fewer keys.
  prompt_keys = HEAD_CHUNKS > 2 ? 32 : 64,
  /// Elements from one row to the next in shared memory: eight rows meet all banks.
  prompt_stride = padded_lanes + 8
};

/// What a lane keeps of two queries, lane / 4 and lane / 4 + 8 of its warp's.
struct Running { float greatest[2], total[2]; };

/// Where a warp's queries are.
struct QueryPlace {
  /// Position of the lane's first query, and of the warp's first and last.
  int own, first, last;
  /// Positions before this far back are not seen; 0 means that all are.
  int window;
};

/// Brings a block's queries in the cache's type, zeros behind the head and behind the last token.
template <class C>
DEVICE void bring_queries(const dv_prompt_arguments &a, C *to, int head, int first) {
  const int pieces = padded_lanes / 4;
  bool aligned = a.head % 4 == 0;
#pragma unroll 8
  for (int i = threadIdx.x; i < prompt_queries * pieces; i += blockDim.x) {
    int t = first + i / pieces, lane = i % pieces * 4, inside = t < a.tokens ? a.head - lane : 0;
    const float *from = at<float>(a.projected) + (i64)t * a.stride + head * a.head + lane;
    float x[4] = {0, 0, 0, 0};
    if (aligned && inside >= 4) unpack(*(const Quad *)from, x, 0.0f);
    else
#pragma unroll
      for (int k = 0; k < 4; k++)
        if (k < inside) x[k] = from[k];
    *(Halves *)(to + i / pieces * prompt_stride + lane) = {{pair(x[0], x[1], C()), pair(x[2], x[3], C())}};
  }
}

/// Fills what no copy writes, behind a narrower head, so that every step multiplies numbers.
template <class C> DEVICE void clear_behind(C *tiles, int padded_head) {
  int pieces = (padded_lanes - padded_head) / 8;
  const Quad zeros = {{0, 0, 0, 0}};
  for (int i = threadIdx.x; i < 2 * prompt_keys * pieces; i += blockDim.x)
    *(Quad *)(tiles + i / pieces * prompt_stride + padded_head + i % pieces * 8) = zeros;
}

/// Asks for a tile of keys or values; behind the last position that one is asked for again.
template <class C>
DEVICE void ask_tile(C *to, const C *plane, int tile, int last, int padded_head) {
  const int pieces = padded_lanes / 8;
#pragma unroll
  for (int i = threadIdx.x; i < prompt_keys * pieces; i += 128) {
    int row = i / pieces, lane = i % pieces * 8;
    if (lane < padded_head) copy_quad(to + row * prompt_stride + lane,
              plane + (i64)least(tile + row, last) * padded_head + lane);
  }
}

/// Products of a warp's queries with a tile of keys.
template <class C>
DEVICE void score_keys(const C *queries, const C *keys, int lane,
                       float (&scores)[prompt_keys / 8][4]) {
  const C *query = queries + lane % 16 * prompt_stride + lane / 16 * 8;
  const C *key = keys + (lane % 8 + lane / 16 * 8) * prompt_stride + lane / 8 % 2 * 8;
#pragma unroll
  for (int n = 0; n < prompt_keys / 8; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) scores[n][i] = 0;
#pragma unroll
  for (int k = 0; k < padded_lanes; k += 16) {
    u32 rows[4], columns[4];
    load_tiles(rows, query + k);
#pragma unroll
    for (int n = 0; n < prompt_keys / 8; n += 2) {
      load_tiles(columns, key + 8 * n * prompt_stride + k);
      multiply_tile(scores[n], rows, columns[0], columns[1], C());
      multiply_tile(scores[n + 1], rows, columns[2], columns[3], C());
    }
  }
}

/// Scores in powers of two, with distances, and −∞ for what a query does not see.
DEVICE void finish_scores(float (&scores)[prompt_keys / 8][4], const QueryPlace &place, int tile,
                          int lane, float scale, float slope) {
  bool whole = tile + prompt_keys - 1 <= place.first &&
               (place.window == 0 || tile > place.last - place.window);
#pragma unroll
  for (int n = 0; n < prompt_keys / 8; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int ago = place.own + i / 2 * 8 - (tile + 8 * n + lane % 4 * 2 + i % 2);
      bool seen = whole || (ago >= 0 && (place.window == 0 || ago < place.window));
      float score = scores[n][i] * scale;
      if (slope != 0) score -= slope * (float)ago;
      scores[n][i] = seen ? score : -INFINITY;
    }
}

/// The greatest, or the sum, over the four lanes that share a query.
DEVICE float quad_greatest(float value) {
  value = fmaxf(value, __shfl_xor_sync(all_lanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(all_lanes, value, 2));
}
DEVICE float quad_sum(float value) {
  value += __shfl_xor_sync(all_lanes, value, 1);
  return value + __shfl_xor_sync(all_lanes, value, 2);
}

/// Turns scores into powers, and what was summed before into the same measure.
DEVICE void raise_scores(float (&scores)[prompt_keys / 8][4], Running &running,
                         float (&sums)[padded_lanes / 8][4]) {
#pragma unroll
  for (int row = 0; row < 2; row++) {
    float next = running.greatest[row], total = 0;
#pragma unroll
    for (int n = 0; n < prompt_keys / 8; n++)
      next = fmaxf(next, fmaxf(scores[n][2 * row], scores[n][2 * row + 1]));
    next = quad_greatest(next);
    // Nothing is seen yet where a window begins behind the tile.
    float base = next == -INFINITY ? 0.0f : next;
    float correction = exp2f(running.greatest[row] - base);
#pragma unroll
    for (int n = 0; n < prompt_keys / 8; n++)
#pragma unroll
      for (int i = 2 * row; i < 2 * row + 2; i++) {
        scores[n][i] = exp2f(scores[n][i] - base);
        total += scores[n][i];
      }
    running.greatest[row] = next;
    running.total[row] = running.total[row] * correction + total;
#pragma unroll
    for (int n = 0; n < padded_lanes / 8; n++) {
      sums[n][2 * row] *= correction;
      sums[n][2 * row + 1] *= correction;
    }
  }
}

/// Adds a tile's values, each by its power.
template <class C>
DEVICE void weigh_values(const float (&powers)[prompt_keys / 8][4], const C *values, int lane,
                         float (&sums)[padded_lanes / 8][4]) {
  const C *value = values + lane % 16 * prompt_stride + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < prompt_keys / 8; k += 2) {
    const u32 rows[4] = {pair(powers[k][0], powers[k][1], C()), pair(powers[k][2], powers[k][3], C()),
                         pair(powers[k + 1][0], powers[k + 1][1], C()),
                         pair(powers[k + 1][2], powers[k + 1][3], C())};
#pragma unroll
    for (int n = 0; n < padded_lanes / 8; n += 2) {
      u32 columns[4];
      load_tiles_turned(columns, value + 8 * k * prompt_stride + 8 * n);
      multiply_tile(sums[n], rows, columns[0], columns[1], C());
      multiply_tile(sums[n + 1], rows, columns[2], columns[3], C());
    }
  }
}

/// Leaves two neighbours of a context, as floats or in 16 bits.
DEVICE void store_context(const dv_prompt_arguments &a, int t, int head, int column, float first,
                          float second) {
  float *to = at<float>(a.context) + (i64)t * a.context_stride + head * a.head + column;
  u16 *rounded = at<u16>(a.rounded) + (i64)t * a.rounded_stride + head * a.head + column;
  bool both = column + 1 < a.head;
  if (column >= a.head) return;
  if (!a.rounded) {
    to[0] = first;
    if (both) to[1] = second;
    return;
  }
  u32 word = a.is_brain ? pair(first, second, bf16()) : pair(first, second, f16());
  if (both && a.head % 2 == 0) {
    *(u32 *)rounded = word;
  } else {
    rounded[0] = (u16)word;
    if (both) rounded[1] = (u16)(word >> 16);
  }
}

/// Leaves a warp's contexts; `t` is the lane's first token.
DEVICE void store_contexts(const dv_prompt_arguments &a, int head, int t, int lane, Running &running,
                           const float (&sums)[padded_lanes / 8][4]) {
#pragma unroll
  for (int row = 0; row < 2; row++) {
    float factor = 1.0f / quad_sum(running.total[row]);
    if (t + 8 * row >= a.tokens) continue;
#pragma unroll
    for (int n = 0; n < padded_lanes / 8; n++)
      store_context(a, t + 8 * row, head, 8 * n + lane % 4 * 2, sums[n][2 * row] * factor,
                    sums[n][2 * row + 1] * factor);
  }
}

/// Grid: tiles of 64 tokens, heads. Shared: queries, keys and values.
template <class C> DEVICE void attend_queries(const dv_prompt_arguments &a, C) {
  DYNAMIC(C, queries);
  C *keys = queries + prompt_queries * prompt_stride, *values = keys + prompt_keys * prompt_stride;
  int head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  // Those who see most come first.
  int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * prompt_queries, t = first + 16 * warp;
  int last = a.position + least(first + prompt_queries, a.tokens) - 1;
  QueryPlace place = {a.position + t + lane / 4, a.position + t, a.position + t + 15, a.sliding_window};
  int tile = place.window > 0 ? most(0, a.position + first + 1 - place.window) : 0;
  i64 plane = (i64)(head / a.heads_per_group) * a.capacity * a.padded_head;
  const C *all_keys = at<C>(a.keys) + plane, *all_values = at<C>(a.values) + plane;
  const float log2e = 1.4426950408889634f;
  float slope = a.slopes ? at<float>(a.slopes)[head] * log2e : 0.0f;
  ask_tile(keys, all_keys, tile, last, a.padded_head);
  close_copies();
  clear_behind(keys, a.padded_head);
  bring_queries(a, queries, head, first);
  Running running = {{-INFINITY, -INFINITY}, {0, 0}};
  float sums[padded_lanes / 8][4], scores[prompt_keys / 8][4];
#pragma unroll
  for (int n = 0; n < padded_lanes / 8; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) sums[n][i] = 0;
  for (; tile <= last; tile += prompt_keys) {
    bool recent = place.window == 0 || tile + prompt_keys > place.first + 1 - place.window;
    bool sees = tile <= place.last && recent;
    ask_tile(values, all_values, tile, last, a.padded_head);
    close_copies();
    await_older_copies();
    __syncthreads();
    if (sees) {
      score_keys(queries + 16 * warp * prompt_stride, keys, lane, scores);
      finish_scores(scores, place, tile, lane, a.scale * log2e, slope);
      raise_scores(scores, running, sums);
    }
    __syncthreads();
    if (tile + prompt_keys <= last)
      ask_tile(keys, all_keys, tile + prompt_keys, last, a.padded_head);
    close_copies();
    await_older_copies();
    __syncthreads();
    if (sees) weigh_values(scores, values, lane, sums);
    __syncthreads();
  }
  store_contexts(a, head, t + lane / 4, lane, running, sums);
}
