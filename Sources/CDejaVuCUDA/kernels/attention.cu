// Attention of one token: projections, scores over the cache in parts, output rows.

#ifndef HEAD_CHUNKS
#define HEAD_CHUNKS 2
#define CACHE f16
#endif

/// Whether a layer computes what all of its groups owe at this position.
DEVICE bool settles_all(int window, int position, int turn) {
  return window == 0 || (position + 1 + turn) % window == 0;
}

/// Two rows of a group's queries, keys or values that one warp computes together; two lanes that a
/// rotation turns are always a pair.
struct RowPair { int group, row, kind, lane, apart, from; };
enum { pair_query = 0, pair_key = 1, pair_value = 2 };

/// Where the first row of a pair begins.
template <class T> DEVICE const T *row_of(const dv_project_arguments &a, const RowPair &pair) {
  dv_address matrix = pair.kind == pair_query ? a.query : pair.kind == pair_key ? a.key : a.value;
  return at<T>(matrix) + (i64)pair.row * a.row_stride;
}

/// Pairs of a group: queries, then keys, then values.
struct PairCounts { int queries, keys, values; };

DEVICE PairCounts count_pairs(const dv_project_arguments &a) {
  int half = a.rotary_half, values = (a.head + 1) / 2;
  return {a.heads_per_group * values, half + (a.head - 2 * half + 1) / 2, values};
}

/// The rows of pair `item` of a group; a head of odd width ends in a pair of one row twice.
DEVICE RowPair pair_rows(const dv_project_arguments &a, int group, int kind, int item) {
  int values = (a.head + 1) / 2, head = 0, lane = 2 * item, apart = 1;
  if (kind == pair_query) {
    head = item / values;
    lane = 2 * (item % values);
  } else if (kind == pair_key && item < a.rotary_half) {
    lane = item;
    apart = a.rotary_half;
  }
  if (lane + apart >= a.head) apart = 0;
  int row = (kind == pair_query ? group * a.heads_per_group + head : group) * a.head + lane;
  return {group, row, kind, lane, apart, 0};
}

/// `count` neighbouring lanes of a vector in the cache's type.
template <int count> DEVICE void read_kept(const CACHE *from, float (&out)[count]) {
  if constexpr (count == Pack<CACHE>::count) {
    unpack(*(const Quad *)from, out, CACHE());
  } else {
#pragma unroll
    for (int k = 0; k < count; k++) out[k] = widen(from[k]);
  }
}

/// Asks for a lane's next pieces of two rows.
template <class T>
DEVICE void ask_pair(Pieces &pieces, const T *row, int apart, int from, int padded, int lane) {
  const int count = Pack<T>::count, step = 32 * count;
#pragma unroll
  for (int j = 0; j < row_pieces; j++) {
    int i = from + j / 2 * step + lane * count;
    if (i < padded) pieces.quads[j] = stream(row + j % 2 * apart + i);
    else pieces.quads[j].w[0] = pieces.quads[j].w[1] = pieces.quads[j].w[2] = pieces.quads[j].w[3] = 0;
  }
}

/// A pair's products are summed in parts of whole chunks, wherever the parts are computed: by one warp, or
/// side by side by several.
enum { pair_parts = 4, pair_stride = row_pieces / 2, shared_pairs = 4 };

/// Every lane's sums with two rows at four positions; in shared memory, since registers are few.
typedef float PairSums[2][4][32];

/// The first column of a part.
template <class T> DEVICE int part_start(int part, int padded) {
  const int chunk = pair_stride * 32 * Pack<T>::count;
  return (padded + chunk - 1) / chunk * part / pair_parts * chunk;
}

/// One lane's share of a part's products with several vectors, in an order that knows nothing of how
/// many there are. The first pieces were asked for; pieces up to `end` are asked for in time. Added to
/// `totals`, or put there by whoever comes first.
template <class T, int vectors>
DEVICE void part_dots(Pieces &pieces, const T *row, int apart, const CACHE *const (&x)[4], int from,
                      int to, int end, int lane, bool adds, PairSums &totals) {
  const int count = Pack<T>::count, step = 32 * count;
  float sums[2][4];
#pragma unroll
  for (int v = 0; v < vectors; v++) sums[0][v] = sums[1][v] = 0;
  for (; from < to; from += pair_stride * step) {
#pragma unroll
    for (int j = 0; j < row_pieces; j += 2) {
      int base = from + j / 2 * step;
      if (base >= end) break;
      float first[count], second[count];
      unpack(pieces.quads[j], first, T());
      unpack(pieces.quads[j + 1], second, T());
#pragma unroll
      for (int v = 0; v < vectors; v++) {
        float values[count];
        read_kept<count>(x[v] + base + lane * count, values);
#pragma unroll
        for (int k = 0; k < count; k++) {
          sums[0][v] = fmaf(first[k], values[k], sums[0][v]);
          sums[1][v] = fmaf(second[k], values[k], sums[1][v]);
        }
      }
    }
    if (from + pair_stride * step < end)
      ask_pair<T>(pieces, row, apart, from + pair_stride * step, end, lane);
  }
#pragma unroll
  for (int v = 0; v < vectors; v++)
#pragma unroll
    for (int r = 0; r < 2; r++) totals[r][v][lane] = (adds ? totals[r][v][lane] : 0.0f) + sums[r][v];
}

/// Stores one lane of a key or value.
DEVICE void store_lane(const dv_project_arguments &a, dv_address cache, int group, int position,
                       int lane, float value) {
  i64 at_position = ((i64)group * a.capacity + position) * a.padded_head;
  narrow(value, at<CACHE>(cache) + at_position + lane);
}

/// Stores a pair's products with the vectors of up to four positions.
DEVICE void store_pair(const dv_project_arguments &a, const RowPair &pair, int position, int count,
                       const PairSums &sums, int lane) {
  const float *bias = at<float>(pair.kind == pair_query ? a.query_bias
                                : pair.kind == pair_key ? a.key_bias
                                                        : a.value_bias);
  int other = pair.row + pair.apart;
  float added[2] = {bias ? bias[pair.row] : 0.0f, bias ? bias[other] : 0.0f};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (i >= count) break;
    float first = warp_sum(sums[0][i][lane]) + added[0];
    float second = warp_sum(sums[1][i][lane]) + added[1];
    if (lane != i) continue;
    if (pair.kind == pair_query) {
      at<float>(a.queries)[pair.row] = first;
      if (pair.apart) at<float>(a.queries)[other] = second;
      continue;
    }
    int at_position = position + i;
    if (pair.kind == pair_key && pair.lane < a.rotary_half) {
      float c = at<float>(a.cosines)[(i64)at_position * a.rotary_half + pair.lane];
      float s = at<float>(a.sines)[(i64)at_position * a.rotary_half + pair.lane];
      float turned = first * c - second * s;
      second = second * c + first * s;
      first = turned;
    }
    dv_address cache = pair.kind == pair_key ? a.keys : a.values;
    store_lane(a, cache, pair.group, at_position, pair.lane, first);
    if (pair.apart) store_lane(a, cache, pair.group, at_position, pair.lane + pair.apart, second);
  }
}

/// What a warp computes next: all parts of a pair, or one of those that the block's warps share.
struct Task { int item, first, last; };

/// Parts of a pair's products at up to four positions that its group owes; queries owe the last one
/// only. Returns how many positions there are.
template <class T>
DEVICE int project_pair(const dv_project_arguments &a, Pieces &pieces, const RowPair &pair,
                        const Task &task, const CACHE *x, int position, int lane, PairSums &totals) {
  const T *row = row_of<T>(a, pair);
  int apart = pair.apart * a.row_stride, end = a.settles_only ? position : position + 1;
  int count = least(4, end - pair.from);
  const CACHE *inputs[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int p = least(pair.from + i, end - 1);
    inputs[i] = p == position || a.window == 0
                    ? x : at<CACHE>(a.kept) + (i64)(p % a.window) * a.kept_stride;
  }
  int stop = least(part_start<T>(task.last, a.padded_width), a.padded_width);
  for (int part = task.first; part < task.last; part++) {
    int from = part_start<T>(part, a.padded_width), to = part_start<T>(part + 1, a.padded_width);
    bool adds = part > task.first;
    if (count == 1) part_dots<T, 1>(pieces, row, apart, inputs, from, to, stop, lane, adds, totals);
    else if (count == 2) part_dots<T, 2>(pieces, row, apart, inputs, from, to, stop, lane, adds, totals);
    else part_dots<T, 4>(pieces, row, apart, inputs, from, to, stop, lane, adds, totals);
  }
  return count;
}

/// What a step reads of its lists, in shared memory.
struct Debts {
  /// Behind the vector; the places of the lists are computed and not kept, since registers are few.
  int *memory;
  int chosen, touched, shares;
  bool all;
  /// Groups of the list, first positions that are owed, and of every share of the work, four positions
  /// at most, its entry of the list and which of the entry's shares it is.
  DEVICE_MEMBER int *groups() const { return memory; }
  DEVICE_MEMBER int *settled(const dv_project_arguments &a) const { return memory + a.group_count; }
  DEVICE_MEMBER int *entries(const dv_project_arguments &a) const {
    return memory + 2 * a.group_count;
  }
  DEVICE_MEMBER int *passes(const dv_project_arguments &a) const {
    return memory + (a.window / 4 + 3) * a.group_count;
  }
};

/// Keys and values, which may be owed at several positions, come before queries, which take less time.
DEVICE RowPair decode_pair(const dv_project_arguments &a, const PairCounts &pairs,
                           const Debts &debts, int position, int item) {
  int both = pairs.keys + pairs.values, query = item - debts.shares * both;
  if (query >= 0) {
    int group = debts.groups()[query / pairs.queries];
    RowPair pair = pair_rows(a, group, pair_query, query % pairs.queries);
    pair.from = position;
    return pair;
  }
  int share = item / both, rest = item % both, entry = debts.entries(a)[share];
  int group = debts.all ? entry : debts.groups()[entry];
  bool is_key = rest < pairs.keys;
  RowPair pair =
      pair_rows(a, group, is_key ? pair_key : pair_value, is_key ? rest : rest - pairs.keys);
  pair.from = debts.settled(a)[group] + 4 * debts.passes(a)[share];
  return pair;
}

/// Cuts what is owed into shares that warps take side by side; the block waits.
DEVICE void share_debts(const dv_project_arguments &a, Debts &debts, int position) {
  SHARED int scratch[32];
  int end = a.settles_only ? position : position + 1;
  debts.shares = 0;
  for (int begin = 0; begin < debts.touched; begin += blockDim.x) {
    int entry = begin + threadIdx.x, count = 0, total;
    if (entry < debts.touched)
      count = most(end - debts.settled(a)[debts.all ? entry : debts.groups()[entry]] + 3, 0) / 4;
    int at = debts.shares + sum_before(count, scratch, &total);
    for (int pass = 0; pass < count; pass++) {
      debts.entries(a)[at + pass] = entry;
      debts.passes(a)[at + pass] = pass;
    }
    debts.shares += total;
    __syncthreads();
  }
}

/// Reads the list and what every group has settled; the block has to wait for it.
DEVICE void read_debts(const dv_project_arguments &a, Debts &debts, int position) {
  debts.all = a.settles_only || settles_all(a.window, position, a.turn);
  for (int i = threadIdx.x; i < a.group_count; i += blockDim.x) {
    debts.groups()[i] = chosen_row(a.groups, 0, i);
    debts.settled(a)[i] = a.window > 0 ? fresh(at<int>(a.settled) + i) : position;
  }
  debts.touched = debts.all ? a.group_count : debts.chosen;
}

/// What was read, for the tally: groups, and positions that were owed; by one warp.
DEVICE void count_debts(const dv_project_arguments &a, const Debts &debts, int position, int lane) {
  int owed = 0, greatest = 0;
  for (int entry = lane; entry < debts.touched; entry += 32) {
    int own = position - debts.settled(a)[debts.all ? entry : debts.groups()[entry]];
    owed += own;
    greatest = most(greatest, own);
  }
  for (int step = 16; step > 0; step >>= 1) {
    owed += __shfl_xor_sync(all_lanes, owed, step);
    greatest = most(greatest, __shfl_xor_sync(all_lanes, greatest, step));
  }
  if (lane != 0) return;
  int *counters = at<int>(a.counters);
  atomicAdd(counters, debts.chosen);
  atomicAdd(counters + 1, debts.touched);
  atomicAdd(counters + 2, owed);
  atomicMax(counters + 3, greatest);
}

/// A block's queue: whole pairs, then the last few in parts. Warps take what comes next, so that those
/// with little to do help the others; who computes what changes no bit.
struct Tasks {
  int whole, units;
  DEVICE_MEMBER Task at(int place) const {
    if (place < whole) return {item(place), 0, pair_parts};
    int unit = place - whole, part = unit % pair_parts;
    if (unit >= units) return {-1, 0, 0};
    return {item(whole + unit / pair_parts), part, part + 1};
  }
  /// Neighbours go to different blocks, so that few items still use the whole card.
  DEVICE_MEMBER int item(int own) const { return own * gridDim.x + blockIdx.x; }
};

DEVICE Tasks share_pairs(int items) {
  int own = (items - (int)blockIdx.x + (int)gridDim.x - 1) / (int)gridDim.x;
  int shared = least(own, shared_pairs);
  return {own - shared, shared * pair_parts};
}

template <class T>
DEVICE void ask_task(const dv_project_arguments &a, Pieces &pieces, const RowPair &pair,
                     const Task &task, int lane) {
  int from = part_start<T>(task.first, a.padded_width);
  int stop = least(part_start<T>(task.last, a.padded_width), a.padded_width);
  ask_pair<T>(pieces, row_of<T>(a, pair), pair.apart * a.row_stride, from, stop, lane);
}

/// Blocks that a multiprocessor holds without keeping numbers in memory.
template <class T> struct ProjectBlocks { enum { count = 1 }; };
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
template <> struct ProjectBlocks<f16> { enum { count = 2 }; };
#endif

/// Adds the parts of pairs that the block has shared out, and stores them.
DEVICE void store_shared(const dv_project_arguments &a, const PairCounts &pairs, const Debts &debts,
                         const Tasks &tasks, PairSums *sums, int position, int lane) {
  int warp = threadIdx.x / 32, end = a.settles_only ? position : position + 1;
  __syncthreads();
  if (warp >= tasks.units / pair_parts) return;
  RowPair pair = decode_pair(a, pairs, debts, position, tasks.item(tasks.whole + warp));
  int count = least(4, end - pair.from);
  PairSums *own = sums + warp * pair_parts;
  for (int v = 0; v < count; v++)
    for (int r = 0; r < 2; r++) {
      float total = 0;
      for (int part = 0; part < pair_parts; part++) total += own[part][r][v][lane];
      own[0][r][v][lane] = total;
    }
  store_pair(a, pair, pair.from, count, own[0], lane);
}

/// Shared: the vector in the cache's type, groups and what they settled.
template <class T> DEVICE void project_heads(const dv_project_arguments &a) {
  DYNAMIC(CACHE, x);
  SHARED PairSums parts[shared_pairs * pair_parts], whole[8];
  SHARED int next;
  int wide = arranged_width(a.width), quads = wide * sizeof(CACHE) / 16;
  Debts debts;
  debts.memory = (int *)(x + wide);
  int lane = threadIdx.x % 32;
  bool early = !a.settles_only && (!a.groups.list || a.groups.early);
  PairCounts pairs = count_pairs(a);
  Pieces pieces;
  if (threadIdx.x == 0) next = blockDim.x / 32;
  RowPair pair;
  if (!early) await_inputs();
  if (!early && !a.settles_only) copy_pieces(x, a.x, quads);
  Known known = read_known(a.groups, a.positions);
  int position = known.position;
  debts.chosen = known.count;
  read_debts(a, debts, position);
  __syncthreads();
  share_debts(a, debts, position);
  Tasks tasks = share_pairs((a.settles_only ? 0 : debts.chosen * pairs.queries) +
                            debts.shares * (pairs.keys + pairs.values));
  int place = threadIdx.x / 32;
  Task task = tasks.at(place);
  if (task.item >= 0) {
    pair = decode_pair(a, pairs, debts, position, task.item);
    ask_task<T>(a, pieces, pair, task, lane);
  }
  if (early) {
    await_inputs();
    copy_pieces(x, a.x, quads);
  }
  await_copies();
  __syncthreads();
  if (!a.settles_only && blockIdx.x == 0) {
    // The vector is kept for who owes, and what is read is counted.
    Quad *kept = (Quad *)(at<CACHE>(a.kept) + (i64)(position % most(a.window, 1)) * a.kept_stride);
    for (int i = threadIdx.x; i < quads && a.window > 0; i += blockDim.x) kept[i] = ((Quad *)x)[i];
    if (threadIdx.x / 32 == blockDim.x / 32 - 1) count_debts(a, debts, position, lane);
  }
  while (task.item >= 0) {
    bool is_whole = place < tasks.whole;
    PairSums &sums = is_whole ? whole[threadIdx.x / 32] : parts[place - tasks.whole];
    int count = project_pair<T>(a, pieces, pair, task, x, position, lane, sums);
    if (is_whole) store_pair(a, pair, pair.from, count, sums, lane);
    if (lane == 0) place = atomicAdd(&next, 1);
    place = __shfl_sync(all_lanes, place, 0);
    task = tasks.at(place);
    if (task.item < 0) break;
    pair = decode_pair(a, pairs, debts, position, task.item);
    ask_task<T>(a, pieces, pair, task, lane);
  }
  if (tasks.units) store_shared(a, pairs, debts, tasks, parts, position, lane);
}
FOR_WEIGHTS(256, ProjectBlocks<CACHE>::count, project_heads, dv_project_arguments)

// Scores and values --------------------------------------------------------------------------------

enum { cache_count = Pack<CACHE>::count, head_step = 8 * cache_count };
enum { padded_lanes = HEAD_CHUNKS * head_step };

/// The query of a head, rotated, `[padded_lanes]` with zeros behind it.
DEVICE void load_query(float *to, const dv_attend_arguments &a, int head, int position) {
  const float *query = at<float>(a.queries) + (i64)head * a.head;
  const float *c = at<float>(a.cosines) + (i64)position * a.rotary_half;
  const float *s = at<float>(a.sines) + (i64)position * a.rotary_half;
  for (int i = threadIdx.x; i < padded_lanes; i += blockDim.x) {
    float value = i < a.head ? query[i] : 0.0f;
    if (i < a.rotary_half) value = value * c[i] - query[i + a.rotary_half] * s[i];
    else if (i < 2 * a.rotary_half) {
      int j = i - a.rotary_half;
      value = value * c[j] + query[j] * s[j];
    }
    to[i] = value;
  }
}

/// Eight neighbouring lanes read one position's vector together.
DEVICE void load_cached(const CACHE *vector, int part, int padded, float (&out)[HEAD_CHUNKS][cache_count]) {
  Quad quads[HEAD_CHUNKS];
#pragma unroll
  for (int c = 0; c < HEAD_CHUNKS; c++) {
    int i = c * head_step + part * cache_count;
    if (i < padded) quads[c] = *(const Quad *)(vector + i);
    else quads[c].w[0] = quads[c].w[1] = quads[c].w[2] = quads[c].w[3] = 0;
  }
#pragma unroll
  for (int c = 0; c < HEAD_CHUNKS; c++) unpack(quads[c], out[c], CACHE());
}

/// Leaves the share of one head over one part of the cache.
DEVICE void attend_part(const dv_attend_arguments &a, int group, int head, int begin, int end,
                        int position, float *part) {
  SHARED float query[padded_lanes], scores[128], scratch[32], sums[16][padded_lanes];
  int member = threadIdx.x / 8, lane = threadIdx.x % 8;
  i64 plane = (i64)group * a.capacity * a.padded_head;
  const CACHE *keys = at<CACHE>(a.keys) + plane, *values = at<CACHE>(a.values) + plane;
  float slope = a.slopes ? at<float>(a.slopes)[head] : 0.0f;
  load_query(query, a, head, position);
  __syncthreads();
  float acc[HEAD_CHUNKS][cache_count], vector[HEAD_CHUNKS][cache_count];
  float greatest = -INFINITY, total = 0;
#pragma unroll
  for (int c = 0; c < HEAD_CHUNKS; c++)
#pragma unroll
    for (int k = 0; k < cache_count; k++) acc[c][k] = 0;
  for (int tile = begin; tile < end; tile += 128) {
    int count = least(128, end - tile);
#pragma unroll 2
    for (int i = member; i < 128; i += 16) {
      float sum = 0;
      if (i < count) {
        load_cached(keys + (i64)(tile + i) * a.padded_head, lane, a.padded_head, vector);
#pragma unroll
        for (int c = 0; c < HEAD_CHUNKS; c++)
#pragma unroll
          for (int k = 0; k < cache_count; k++)
            sum = fmaf(vector[c][k], query[c * head_step + lane * cache_count + k], sum);
      }
      for (int step = 4; step > 0; step >>= 1) sum += __shfl_xor_sync(all_lanes, sum, step);
      if (lane == 0)
        scores[i] = i < count ? sum * a.scale + slope * (float)(tile + i - position) : -INFINITY;
    }
    __syncthreads();
    float score = scores[threadIdx.x];
    float next = fmaxf(greatest, block_greatest(score, scratch));
    float power = expf(score - next), correction = expf(greatest - next);
    scores[threadIdx.x] = power;
    total = total * correction + block_sum(power, scratch);
    greatest = next;
#pragma unroll
    for (int c = 0; c < HEAD_CHUNKS; c++)
#pragma unroll
      for (int k = 0; k < cache_count; k++) acc[c][k] *= correction;
#pragma unroll 2
    for (int i = member; i < count; i += 16) {
      load_cached(values + (i64)(tile + i) * a.padded_head, lane, a.padded_head, vector);
      float weight = scores[i];
#pragma unroll
      for (int c = 0; c < HEAD_CHUNKS; c++)
#pragma unroll
        for (int k = 0; k < cache_count; k++) acc[c][k] = fmaf(weight, vector[c][k], acc[c][k]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int c = 0; c < HEAD_CHUNKS; c++)
#pragma unroll
    for (int k = 0; k < cache_count; k++)
      sums[member][c * head_step + lane * cache_count + k] = acc[c][k];
  __syncthreads();
  for (int i = threadIdx.x; i < a.padded_head; i += blockDim.x) {
    float sum = 0;
    for (int m = 0; m < 16; m++) sum += sums[m][i];
    part[2 + i] = sum;
  }
  if (threadIdx.x == 0) {
    part[0] = greatest;
    part[1] = total;
  }
}

/// The positions of one part of the cache; parts behind `used` are empty.
struct Share { int first, size, used; };

DEVICE Share share_cache(int position, int sliding_window, int splits) {
  int first = sliding_window > 0 ? most(0, position + 1 - sliding_window) : 0;
  int seen = position + 1 - first, size = (seen + splits - 1) / splits;
  size = (most(size, 32) + 15) / 16 * 16;
  return {first, size, (seen + size - 1) / size};
}

/// Asks for the keys and values that a part will read; what of them is not settled yet is read when
/// it is.
DEVICE void fetch_part(const dv_attend_arguments &a, int group, int begin, int end) {
  i64 from = ((i64)group * a.capacity + begin) * a.padded_head;
  i64 pieces = ((i64)(end - begin) * a.padded_head * sizeof(CACHE) + 127) / 128;
  for (i64 i = threadIdx.x; i < 2 * pieces; i += blockDim.x) {
    const CACHE *plane = at<CACHE>(i % 2 ? a.values : a.keys) + from;
    fetch_ahead((const char *)plane + i / 2 * 128);
  }
}

/// Grid: groups, parts of the cache, heads of a group; then planes of riders. Shared: the riders'.
KERNEL(128, HEAD_CHUNKS > 2 ? 4 : 6) attend_cache(const GRID_CONSTANT dv_attend_arguments a) {
  if ((int)blockIdx.z >= a.heads_per_group) {
    DYNAMIC(float, values);
    int plane = blockIdx.z - a.heads_per_group;
    return score_block(a.riders, (plane * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x, 0, values);
  }
  bool early = !a.groups.count || a.groups.early;
  if (!early) await_inputs();
  SHARED int own;
  int entry = blockIdx.x;
  if (threadIdx.x == 64) own = chosen_row(a.groups, 0, entry);
  Known known = read_known(a.groups, a.positions);
  int position = known.position, count = known.count, group = entry < count ? own : 0;
  Share share = share_cache(position, a.sliding_window, a.splits);
  int begin = share.first + (int)blockIdx.y * share.size, end = least(begin + share.size, position + 1);
  if (early) {
    if (entry < count && blockIdx.z == 0 && begin < end) fetch_part(a, group, begin, end);
    await_inputs();
  }
  bool leads = blockIdx.y == 0 && blockIdx.z == 0 && threadIdx.x == 0;
  if (leads && settles_all(a.window, position, a.turn)) at<int>(a.settled)[entry] = position + 1;
  if (entry >= count) return;
  int head = group * a.heads_per_group + blockIdx.z;
  if (leads) at<int>(a.settled)[group] = position + 1;
  float *part = at<float>(a.parts) + (i64)(head * a.splits + blockIdx.y) * (a.padded_head + 2);
  if (begin < end) {
    attend_part(a, group, head, begin, end, position, part);
  } else if (threadIdx.x == 0) {
    part[0] = -INFINITY;
    part[1] = 0;
  }
}

/// One lane of a head's context, from the parts of the cache.
DEVICE float merged(const float *parts, int splits, int padded_head, int lane) {
  float greatest = -INFINITY, total = 0, sum = 0;
#pragma unroll 2
  for (int s = 0; s < splits; s++) greatest = fmaxf(greatest, parts[s * (padded_head + 2)]);
#pragma unroll 2
  for (int s = 0; s < splits; s++) {
    const float *part = parts + s * (padded_head + 2);
    if (part[1] == 0) continue;
    float weight = expf(part[0] - greatest);
    total = fmaf(weight, part[1], total);
    sum = fmaf(weight, part[2 + lane], sum);
  }
  return sum / total;
}

/// Lane `i` of the context.
DEVICE float merged_lane(const dv_context_arguments &a, const Share &share, int i) {
  const float *parts = at<float>(a.parts) + (i64)(i / a.head) * a.splits * (a.padded_head + 2);
  return merged(parts, share.used, a.padded_head, i % a.head);
}

DEVICE Share share_context(const dv_context_arguments &a) {
  return share_cache(at<int>(a.positions)[0], a.sliding_window, a.splits);
}

KERNEL(256, 1) merge_context(dv_context_arguments a) {
  await_inputs();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < a.heads * a.head) at<float>(a.context)[i] = merged_lane(a, share_context(a), i);
}

KERNEL(256, 1) clip_settled(dv_clip_arguments a) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < a.entries) at<int>(a.settled)[i] = least(at<int>(a.settled)[i], a.count);
}

/// Grid: pieces of a plane, planes.
KERNEL(256, 1) fork_planes(dv_fork_arguments a) {
  const Quad *from = at<Quad>(a.from) + (i64)blockIdx.y * a.from_stride;
  Quad *to = at<Quad>(a.to) + (i64)blockIdx.y * a.to_stride;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < a.pieces; i += gridDim.x * blockDim.x)
    to[i] = from[i];
}
