// Rows of chosen heads, and what the heads owe: positions whose keys and values are computed later.

#ifndef HEAD_CHUNKS
#define HEAD_CHUNKS 2
#define CACHE f16
#endif

/// What a block must know of a step before it knows its work, read once.
struct Known { int count, position; };

/// By the whole block, which waits.
DEVICE Known read_known(const dv_choice &choice, dv_address positions) {
  SHARED int known[2];
  if (threadIdx.x == 0) known[0] = choice.count ? fresh(at<int>(choice.count)) : choice.all;
  if (threadIdx.x == 32 && positions) known[1] = fresh(at<int>(positions));
  __syncthreads();
  return {known[0], positions ? known[1] : 0};
}

DEVICE int chosen_count(const dv_choice &choice, int token) {
  return choice.count ? fresh(at<int>(choice.count) + token) : choice.all;
}
DEVICE int chosen_row(const dv_choice &choice, int token, int entry) {
  return choice.list ? fresh(at<int>(choice.list) + (i64)token * choice.stride + entry) : entry;
}

/// Whether a layer computes what all of its groups owe at this position.
DEVICE bool settles_all(int window, int position, int turn) {
  return window == 0 || (position + 1 + turn) % window == 0;
}

// Pairs of rows ------------------------------------------------------------------------------------

enum { pair_query = 0, pair_key = 1, pair_value = 2 };

/// Pairs of a group, or tiles of pairs: of each of its queries, of its keys and of its values.
struct KindCounts { int queries, keys, values; };

DEVICE KindCounts count_pairs(const dv_project_arguments &a) {
  int half = a.rotary_half, values = (a.head + 1) / 2;
  return {values, half + (a.head - 2 * half + 1) / 2, values};
}

/// Where a piece of a step's work begins: its kind, the first row of its head, its place among the head's
/// pairs or tiles, and its first position.
struct Item { int group, kind, base, place, from; };

/// Two rows of a head that are computed together; two lanes that a rotation turns are always a pair.
struct RowPair { int group, row, kind, lane, apart; };

/// The rows of pair `place` of an item's head; a head of odd width ends in a pair of one row twice.
DEVICE RowPair pair_rows(const dv_project_arguments &a, const Item &item, int place) {
  int lane = 2 * place, apart = 1;
  if (item.kind == pair_key && place < a.rotary_half) {
    lane = place;
    apart = a.rotary_half;
  }
  if (lane + apart >= a.head) apart = 0;
  return {item.group, item.base + lane, item.kind, lane, apart};
}

/// Where the first row of a pair begins.
template <class T> DEVICE const T *row_of(const dv_project_arguments &a, const RowPair &pair) {
  dv_address matrix = pair.kind == pair_query ? a.query : pair.kind == pair_key ? a.key : a.value;
  return at<T>(matrix) + (i64)pair.row * a.row_stride;
}

/// Stores one lane of a key or value.
DEVICE void store_lane(const dv_project_arguments &a, dv_address cache, int group, int position,
                       int lane, float value) {
  i64 at_position = ((i64)group * a.capacity + position) * a.padded_head;
  narrow(value, at<CACHE>(cache) + at_position + lane);
}

/// Stores a pair's products at one position; by one thread.
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

// Debts --------------------------------------------------------------------------------------------

/// What a step reads of its lists, in shared memory, where debts are cut into shares of `positions`.
template <int positions> struct Debts {
  /// The places of the lists are computed and not kept, since registers are few.
  int *memory;
  int chosen, touched, shares, position, end;
  bool all;
  /// Groups of the list, first positions that are owed, and of every share of the work its entry of
  /// the list and which of the entry's shares it is.
  DEVICE_MEMBER int *groups() const { return memory; }
  DEVICE_MEMBER int *settled(const dv_project_arguments &a) const { return memory + a.group_count; }
  DEVICE_MEMBER int *entries(const dv_project_arguments &a) const {
    return memory + 2 * a.group_count;
  }
  DEVICE_MEMBER int *passes(const dv_project_arguments &a) const {
    return memory + (a.window / 4 + 3) * a.group_count;
  }
  DEVICE_MEMBER int group(int entry) const { return all ? entry : groups()[entry]; }
  /// The first position of a share.
  DEVICE_MEMBER int from(const dv_project_arguments &a, int share) const {
    return settled(a)[group(entries(a)[share])] + positions * passes(a)[share];
  }

  /// Reads the list and what every group has settled, and cuts it into shares that are taken side by
  /// side; the block comes together.
  DEVICE_MEMBER void read(const dv_project_arguments &a) {
    SHARED int scratch[32];
    // The whole list comes beside its count.
    for (int i = threadIdx.x; i < a.group_count; i += blockDim.x) {
      groups()[i] = chosen_row(a.groups, 0, i);
      if (a.window > 0) settled(a)[i] = fresh(at<int>(a.settled) + i);
    }
    Known known = read_known(a.groups, a.positions);
    position = known.position;
    chosen = known.count;
    end = a.settles_only ? position : position + 1;
    all = a.settles_only || settles_all(a.window, position, a.turn);
    touched = all ? a.group_count : chosen;
    shares = 0;
    for (int i = threadIdx.x; i < a.group_count && a.window == 0; i += blockDim.x)
      settled(a)[i] = position;
    __syncthreads();
    for (int begin = 0; begin < touched; begin += blockDim.x) {
      int entry = begin + threadIdx.x, count = 0, total;
      if (entry < touched)
        count = most(end - settled(a)[group(entry)] + positions - 1, 0) / positions;
      int place = shares + sum_before(count, scratch, &total);
      for (int pass = 0; pass < count; pass++) {
        entries(a)[place + pass] = entry;
        passes(a)[place + pass] = pass;
      }
      shares += total;
      __syncthreads();
    }
  }

  /// What was read, for the tally: groups, and positions that were owed; by one warp.
  DEVICE_MEMBER void count(const dv_project_arguments &a, int lane) const {
    int sum = 0, greatest = 0;
    for (int entry = lane; entry < touched; entry += 32) {
      int own = position - settled(a)[group(entry)];
      sum += own;
      greatest = most(greatest, own);
    }
    for (int step = 16; step > 0; step >>= 1) {
      sum += __shfl_xor_sync(all_lanes, sum, step);
      greatest = most(greatest, __shfl_xor_sync(all_lanes, greatest, step));
    }
    if (lane != 0) return;
    int *counters = at<int>(a.counters);
    atomicAdd(counters, chosen);
    atomicAdd(counters + 1, touched);
    atomicAdd(counters + 2, sum);
    atomicMax(counters + 3, greatest);
  }
};

/// Keys and values of every share, then queries, which owe the last position only.
template <int positions>
DEVICE Item find_item(const dv_project_arguments &a, const KindCounts &counts,
                      const Debts<positions> &debts, int item) {
  int both = counts.keys + counts.values, query = item - debts.shares * both;
  if (query >= 0) {
    int head = query / counts.queries, group = debts.groups()[head / a.heads_per_group];
    int base = (group * a.heads_per_group + head % a.heads_per_group) * a.head;
    return {group, pair_query, base, query % counts.queries, debts.position};
  }
  int share = item / both, rest = item % both, group = debts.group(debts.entries(a)[share]);
  bool is_key = rest < counts.keys;
  return {group, is_key ? pair_key : pair_value, group * a.head, is_key ? rest : rest - counts.keys,
          debts.from(a, share)};
}

template <int positions>
DEVICE int count_items(const dv_project_arguments &a, const KindCounts &counts,
                       const Debts<positions> &debts) {
  return (a.settles_only ? 0 : debts.chosen * a.heads_per_group * counts.queries) +
         debts.shares * (counts.keys + counts.values);
}
