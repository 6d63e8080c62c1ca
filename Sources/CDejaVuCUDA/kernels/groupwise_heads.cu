// Queries, keys and values of chosen heads over rows of codes, and what the heads owe.
//
// As `project_heads`, a warp to a pair of rows and up to four positions. Of the last positions, which
// most debts are about, a block keeps what finds room in its shared memory beside the token's vector.
#ifdef CODE_GROUP

/// What heads owe, in shared memory behind the vectors.
struct OwedShares {
  /// Groups of the list, first positions that are owed, and of every share of the work, four positions
  /// at most, its entry of the list and which of the entry's shares it is.
  int *groups, *settled, *entries, *passes;
  int chosen, touched, shares, position;
  bool all;
};

/// Reads the list and what every group has settled, and cuts it into shares; the block comes together.
DEVICE void read_shares(const dv_project_arguments &a, OwedShares &owed) {
  SHARED int scratch[32];
  int end = a.settles_only ? owed.position : owed.position + 1;
  owed.all = a.settles_only || settles_all(a.window, owed.position, a.turn);
  owed.touched = owed.all ? a.group_count : owed.chosen;
  owed.shares = 0;
  for (int i = threadIdx.x; i < a.group_count; i += blockDim.x) {
    owed.groups[i] = chosen_row(a.groups, 0, i);
    owed.settled[i] = a.window > 0 ? fresh(at<int>(a.settled) + i) : owed.position;
  }
  __syncthreads();
  for (int begin = 0; begin < owed.touched; begin += blockDim.x) {
    int entry = begin + threadIdx.x, count = 0, total;
    if (entry < owed.touched)
      count = most(end - owed.settled[owed.all ? entry : owed.groups[entry]] + 3, 0) / 4;
    int place = owed.shares + sum_before(count, scratch, &total);
    for (int pass = 0; pass < count; pass++) {
      owed.entries[place + pass] = entry;
      owed.passes[place + pass] = pass;
    }
    owed.shares += total;
    __syncthreads();
  }
}

/// What was read, for the tally: groups, and positions that were owed; by one warp.
DEVICE void count_shares(const dv_project_arguments &a, const OwedShares &owed, int lane) {
  int sum = 0, greatest = 0;
  for (int entry = lane; entry < owed.touched; entry += 32) {
    int own = owed.position - owed.settled[owed.all ? entry : owed.groups[entry]];
    sum += own;
    greatest = most(greatest, own);
  }
  for (int step = 16; step > 0; step >>= 1) {
    sum += __shfl_xor_sync(all_lanes, sum, step);
    greatest = most(greatest, __shfl_xor_sync(all_lanes, greatest, step));
  }
  if (lane != 0) return;
  int *counters = at<int>(a.counters);
  atomicAdd(counters, owed.chosen);
  atomicAdd(counters + 1, owed.touched);
  atomicAdd(counters + 2, sum);
  atomicMax(counters + 3, greatest);
}

/// The rows of an item: keys and values of every share, then queries, which take less time.
DEVICE RowPair item_pair(const dv_project_arguments &a, const OwedShares &owed, int item) {
  PairCounts pairs = count_pairs(a);
  int both = pairs.keys + pairs.values, query = item - owed.shares * both;
  if (query >= 0) {
    RowPair pair =
        pair_rows(a, owed.groups[query / pairs.queries], pair_query, query % pairs.queries);
    pair.from = owed.position;
    return pair;
  }
  int share = item / both, rest = item % both, entry = owed.entries[share];
  int group = owed.all ? entry : owed.groups[entry];
  bool is_key = rest < pairs.keys;
  RowPair pair =
      pair_rows(a, group, is_key ? pair_key : pair_value, is_key ? rest : rest - pairs.keys);
  pair.from = owed.settled[group] + 4 * owed.passes[share];
  return pair;
}

/// Stores a pair's products at one position.
DEVICE void store_products(const dv_project_arguments &a, const RowPair &pair, int position,
                           float first, float second) {
  int other = pair.row + pair.apart;
  const float *bias = at<float>(pair.kind == pair_query ? a.query_bias
                                : pair.kind == pair_key ? a.key_bias
                                                        : a.value_bias);
  first += bias ? bias[pair.row] : 0.0f;
  second += bias ? bias[other] : 0.0f;
  if (pair.kind == pair_query) {
    at<float>(a.queries)[pair.row] = first;
    if (pair.apart) at<float>(a.queries)[other] = second;
    return;
  }
  if (pair.kind == pair_key && pair.lane < a.rotary_half) {
    float c = at<float>(a.cosines)[(i64)position * a.rotary_half + pair.lane];
    float s = at<float>(a.sines)[(i64)position * a.rotary_half + pair.lane];
    float turned = first * c - second * s;
    second = second * c + first * s;
    first = turned;
  }
  dv_address cache = pair.kind == pair_key ? a.keys : a.values;
  store_lane(a, cache, pair.group, position, pair.lane, first);
  if (pair.apart) store_lane(a, cache, pair.group, position, pair.lane + pair.apart, second);
}

/// Two rows, the next ones' first, and how far apart they lie; 0 where there are none.
template <class T> struct RowPlace { const T *row; int apart; };

template <class T>
DEVICE RowPlace<T> place_of(const dv_project_arguments &a, const RowPair &pair) {
  dv_address matrix = pair.kind == pair_query ? a.query : pair.kind == pair_key ? a.key : a.value;
  return {at<T>(matrix) + (i64)pair.row * a.row_stride, pair.apart * a.row_stride};
}

/// Asks for a lane's next units of both rows.
template <class T>
DEVICE void ask_units(CodePieces<T, pair_pieces> &pieces, const RowPlace<T> &rows, int unit,
                      int padded) {
#pragma unroll
  for (int j = 0; j < pair_pieces; j++)
    ask_unit(pieces, j, rows.row + j % 2 * rows.apart, unit + j / 2 * 32, padded);
}

/// One lane's share of two rows' products with several vectors, in an order that knows nothing of
/// how many there are. The first units were asked for; asks for the next pair's.
template <class T, int vectors>
DEVICE void pair_products(CodePieces<T, pair_pieces> &pieces, const RowPlace<T> &rows,
                          const RowPlace<T> &next, const char *const (&x)[4], int padded, int lane,
                          float (&sums)[2][4]) {
  const int step = pair_pieces / 2 * 32;
  int units = padded * Coding<T>::bits / 128, wide = arranged_width(padded);
#pragma unroll
  for (int v = 0; v < vectors; v++) sums[0][v] = sums[1][v] = 0;
#pragma unroll 1
  for (int from = 0; from < units; from += step) {
#pragma unroll
    for (int j = 0; j < pair_pieces; j += 2) {
      if (from + j / 2 * 32 >= units) break;
      int unit = least(from + j / 2 * 32 + lane, units - 1);
#pragma unroll
      for (int v = 0; v < vectors; v++) {
        UnitVector<T> values;
        keep_order();
        read_unit(values, x[v], wide, unit);
        sums[0][v] += unit_dot(pieces, j, values);
        sums[1][v] += unit_dot(pieces, j + 1, values);
      }
    }
    // All at once: a load behind a unit's use would be awaited with the next unit.
    if (from + step < units) ask_units(pieces, rows, from + step + lane, padded);
    else if (next.row) ask_units(pieces, next, lane, padded);
  }
}

/// One pair at up to four positions that its group owes; queries owe the last one only.
template <class T>
DEVICE void project_item(const dv_project_arguments &a, CodePieces<T, pair_pieces> &pieces,
                         const OwedShares &owed, const RowPair &pair, const RowPlace<T> &next,
                         const char *vectors, int bytes, int lane) {
  int end = a.settles_only ? owed.position : owed.position + 1, count = least(4, end - pair.from);
  const char *inputs[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int p = least(pair.from + i, end - 1), ago = owed.position - p;
    inputs[i] = a.window == 0 || ago <= a.recent
                    ? vectors + ago * bytes
                    : (const char *)(at<CACHE>(a.kept) + (i64)(p % a.window) * a.kept_stride);
  }
  float sums[2][4];
  RowPlace<T> rows = place_of<T>(a, pair);
  if (count == 1) pair_products<T, 1>(pieces, rows, next, inputs, a.padded_width, lane, sums);
  else if (count == 2) pair_products<T, 2>(pieces, rows, next, inputs, a.padded_width, lane, sums);
  else pair_products<T, 4>(pieces, rows, next, inputs, a.padded_width, lane, sums);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (i >= count) break;
    float first = warp_sum(sums[0][i]), second = warp_sum(sums[1][i]);
    if (lane == i)
      store_products(a, pair, pair.from + i, first * code_unit<T>(), second * code_unit<T>());
  }
}

/// Shared: the vector, those of recent positions, groups and what they settled.
template <class T> DEVICE void project_coded_heads(const dv_project_arguments &a) {
  DYNAMIC(char, vectors);
  int bytes = Vector<T>::pieces(a.width) * 16, lane = threadIdx.x % 32;
  SHARED int queue;
  // Neighbouring pairs go to different blocks, so that few of them still use the whole card; warps of a
  // block take what comes next.
  int item = threadIdx.x / 32 * gridDim.x + blockIdx.x;
  bool early = !a.settles_only && (!a.groups.list || a.groups.early);
  if (threadIdx.x == 0) queue = blockDim.x / 32;
  OwedShares owed;
  owed.groups = (int *)(vectors + (1 + a.recent) * bytes);
  owed.settled = owed.groups + a.group_count;
  owed.entries = owed.settled + a.group_count;
  owed.passes = owed.entries + a.group_count * (a.window / 4 + 1);
  if (!early) await_inputs();
  if (!early && !a.settles_only) copy_pieces(vectors, a.x, bytes / 16);
  Known known = read_known(a.groups, a.positions);
  owed.position = known.position;
  owed.chosen = known.count;
  read_shares(a, owed);
  PairCounts pairs = count_pairs(a);
  int items = (a.settles_only ? 0 : owed.chosen * pairs.queries) +
              owed.shares * (pairs.keys + pairs.values);
  CodePieces<T, pair_pieces> pieces;
  RowPair pair;
  if (item < items) {
    pair = item_pair(a, owed, item);
    ask_units(pieces, place_of<T>(a, pair), lane, a.padded_width);
  }
  // Earlier steps have left these.
  for (int ago = 1; ago <= least(a.recent, owed.position); ago++) {
    i64 place = (i64)((owed.position - ago) % a.window) * a.kept_stride;
    copy_pieces(vectors + ago * bytes, a.kept + place * sizeof(CACHE), bytes / 16);
  }
  if (early) {
    await_inputs();
    copy_pieces(vectors, a.x, bytes / 16);
  }
  await_copies();
  __syncthreads();
  if (!a.settles_only && blockIdx.x == 0) {
    // The vector is kept for who owes, and what is read is counted.
    Quad *kept =
        (Quad *)(at<CACHE>(a.kept) + (i64)(owed.position % most(a.window, 1)) * a.kept_stride);
    for (int i = threadIdx.x; i < bytes / 16 && a.window > 0; i += blockDim.x)
      kept[i] = ((Quad *)vectors)[i];
    if (threadIdx.x / 32 == blockDim.x / 32 - 1) count_shares(a, owed, lane);
  }
  while (item < items) {
    if (lane == 0) item = atomicAdd(&queue, 1) * gridDim.x + blockIdx.x;
    item = __shfl_sync(all_lanes, item, 0);
    RowPair following = pair;
    RowPlace<T> next = {0, 0};
    if (item < items) {
      following = item_pair(a, owed, item);
      next = place_of<T>(a, following);
    }
    project_item<T>(a, pieces, owed, pair, next, vectors, bytes, lane);
    pair = following;
  }
}
KERNEL(192, code_blocks) project_heads_i4(dv_project_arguments a) { project_coded_heads<i4>(a); }
KERNEL(192, code_blocks) project_heads_i8(dv_project_arguments a) { project_coded_heads<i8>(a); }
#endif
