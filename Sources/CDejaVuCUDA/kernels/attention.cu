// Attention of one token over the cache, in parts.

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

/// Threads of a block that attends have eight lanes to a position, and two positions at a time.
enum { members = 16, pair_positions = 2 * members, tile_positions = 128 };

/// A lane's pieces of two positions' vectors, of which eight neighbouring lanes read one together.
struct CachedPair {
  Quad quads[2][HEAD_CHUNKS];
  /// Asks for those of `plane` at `first` and `members` behind it, zeros from `end` on.
  DEVICE_MEMBER void ask(const CACHE *plane, int first, int end, int padded) {
    int part = threadIdx.x % 8;
#pragma unroll
    for (int j = 0; j < 2; j++) {
      int position = first + j * members;
      const CACHE *vector = plane + (i64)position * padded;
#pragma unroll
      for (int c = 0; c < HEAD_CHUNKS; c++) {
        int i = c * head_step + part * cache_count;
        Quad &quad = quads[j][c];
        if (position < end && i < padded) quad = *(const Quad *)(vector + i);
        else quad.w[0] = quad.w[1] = quad.w[2] = quad.w[3] = 0;
      }
    }
  }
};

/// A position's product with the query, by the eight lanes that have its key.
DEVICE float query_dot(const Quad (&key)[HEAD_CHUNKS], const float *query, int lane) {
  float sum = 0;
#pragma unroll
  for (int c = 0; c < HEAD_CHUNKS; c++) {
    float vector[cache_count];
    unpack(key[c], vector, CACHE());
#pragma unroll
    for (int k = 0; k < cache_count; k++)
      sum = fmaf(vector[k], query[c * head_step + lane * cache_count + k], sum);
  }
#pragma unroll
  for (int step = 4; step > 0; step >>= 1) sum += __shfl_xor_sync(all_lanes, sum, step);
  return sum;
}

/// What is known of a part's softmax: the same by every warp, so that none waits for another.
struct Softmax {
  float greatest, total;
  /// Takes a tile's scores along; returns what earlier sums are worth now.
  DEVICE_MEMBER float take(const float *scores, int count) {
    float next = greatest, power = 0, own[tile_positions / 32];
#pragma unroll
    for (int k = 0; k < tile_positions / 32; k++) {
      int i = threadIdx.x % 32 + 32 * k;
      own[k] = i < count ? scores[i] : -INFINITY;
      next = fmaxf(next, own[k]);
    }
    next = warp_greatest(next);
#pragma unroll
    for (int k = 0; k < tile_positions / 32; k++) power += expf(own[k] - next);
    float correction = expf(greatest - next);
    total = total * correction + warp_sum(power);
    greatest = next;
    return correction;
  }
};

/// A lane's share of the values, weighted.
struct WeightedValues {
  float of[HEAD_CHUNKS][cache_count];

  DEVICE_MEMBER void scale(float factor) {
#pragma unroll
    for (int c = 0; c < HEAD_CHUNKS; c++)
#pragma unroll
      for (int k = 0; k < cache_count; k++) of[c][k] *= factor;
  }
  DEVICE_MEMBER void add(const Quad (&value)[HEAD_CHUNKS], float weight) {
#pragma unroll
    for (int c = 0; c < HEAD_CHUNKS; c++) {
      float vector[cache_count];
      unpack(value[c], vector, CACHE());
#pragma unroll
      for (int k = 0; k < cache_count; k++) of[c][k] = fmaf(weight, vector[k], of[c][k]);
    }
  }
};

/// Adds the members' sums and leaves a part: greatest score, sum of powers, weighted values.
DEVICE void leave_part(const WeightedValues &own, const Softmax &softmax, int padded, float *part) {
  SHARED float sums[members][padded_lanes];
  int member = threadIdx.x / 8, lane = threadIdx.x % 8;
#pragma unroll
  for (int c = 0; c < HEAD_CHUNKS; c++)
#pragma unroll
    for (int k = 0; k < cache_count; k++)
      sums[member][c * head_step + lane * cache_count + k] = own.of[c][k];
  __syncthreads();
  for (int i = threadIdx.x; i < padded; i += blockDim.x) {
    float sum = 0;
    for (int m = 0; m < members; m++) sum += sums[m][i];
    part[2 + i] = sum;
  }
  if (threadIdx.x != 0) return;
  part[0] = softmax.greatest;
  part[1] = softmax.total;
}

/// Leaves the share of one head over one part of the cache. Loops stay loops: unrolled they are longer and no
/// faster.
DEVICE void attend_part(const dv_attend_arguments &a, int group, int head, int begin, int end,
                        int position, float *part) {
  SHARED float query[padded_lanes], scores[tile_positions];
  int member = threadIdx.x / 8, lane = threadIdx.x % 8, padded = a.padded_head;
  i64 plane = (i64)group * a.capacity * padded;
  const CACHE *keys = at<CACHE>(a.keys) + plane, *values = at<CACHE>(a.values) + plane;
  float slope = a.slopes ? at<float>(a.slopes)[head] : 0.0f;
  load_query(query, a, head, position);
  __syncthreads();
  WeightedValues sums = {};
  Softmax softmax = {-INFINITY, 0};
  CachedPair own;
  for (int tile = begin; tile < end; tile += tile_positions) {
    int count = least(tile_positions, end - tile);
#pragma unroll 1
    for (int i = member; i < member + count; i += pair_positions) {
      own.ask(keys, tile + i, end, padded);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        int place = i + j * members;
        float dot = query_dot(own.quads[j], query, lane);
        if (lane == 0) scores[place] = dot * a.scale + slope * (float)(tile + place - position);
      }
    }
    __syncthreads();
    sums.scale(softmax.take(scores, count));
#pragma unroll 1
    for (int i = member; i < count; i += pair_positions) {
      own.ask(values, tile + i, end, padded);
#pragma unroll
      for (int j = 0; j < 2; j++)
        if (i + j * members < count)
          sums.add(own.quads[j], expf(scores[i + j * members] - softmax.greatest));
    }
    // The next tile's scores take the places of these.
    __syncthreads();
  }
  leave_part(sums, softmax, padded, part);
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

/// Grid: groups, parts of the cache, planes of riders and then heads of a group. Riders come first, and stream their
/// rows beside what attention waits for. Shared: the riders'.
KERNEL(128, HEAD_CHUNKS > 2 ? 4 : 6) attend_cache(const GRID_CONSTANT dv_attend_arguments a) {
  int member = (int)blockIdx.z - a.rider_planes;
  if (member < 0) {
    DYNAMIC(signed char, rounded);
    return score_block(a.riders, (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x, 0, rounded);
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
    if (entry < count && member == 0 && begin < end) fetch_part(a, group, begin, end);
    await_inputs();
  }
  bool leads = blockIdx.y == 0 && member == 0 && threadIdx.x == 0;
  if (leads && settles_all(a.window, position, a.turn)) at<int>(a.settled)[entry] = position + 1;
  if (entry >= count) return;
  int head = group * a.heads_per_group + member;
  if (leads) at<int>(a.settled)[group] = position + 1;
  float *part = at<float>(a.parts) + (i64)(head * a.splits + blockIdx.y) * (a.padded_head + 2);
  if (begin < end) {
    attend_part(a, group, head, begin, end, position, part);
  } else if (threadIdx.x == 0) {
    part[0] = -INFINITY;
    part[1] = 0;
  }
}

enum { merge_parts = 4 };

/// Lane `i` of the context, from the parts of the cache; four of them are on their way.
DEVICE float merged_lane(const dv_context_arguments &a, const Share &share, int i) {
  int size = a.padded_head + 2, lane = 2 + i % a.head;
  const float *parts = at<float>(a.parts) + (i64)(i / a.head) * a.splits * size;
  float greatest = -INFINITY, total = 0, sum = 0;
  for (int from = 0; from < share.used; from += merge_parts) {
    float scores[merge_parts], powers[merge_parts], values[merge_parts], next = greatest;
#pragma unroll
    for (int s = 0; s < merge_parts; s++) {
      const float *part = parts + (i64)least(from + s, share.used - 1) * size;
      scores[s] = part[0];
      powers[s] = from + s < share.used ? part[1] : 0.0f;
      values[s] = part[lane];
    }
#pragma unroll
    for (int s = 0; s < merge_parts; s++) next = powers[s] == 0 ? next : fmaxf(next, scores[s]);
    float own = total == 0 ? 0.0f : expf(greatest - next);
    total *= own;
    sum *= own;
    greatest = next;
#pragma unroll
    for (int s = 0; s < merge_parts; s++) {
      if (powers[s] == 0) continue;
      float weight = expf(scores[s] - greatest);
      total = fmaf(weight, powers[s], total);
      sum = fmaf(weight, values[s], sum);
    }
  }
  return sum / total;
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
