// Attention of one token: projections, scores over the cache in parts, output rows.

#ifndef HEAD_CHUNKS
#define HEAD_CHUNKS 2
#define CACHE f16
#endif

DEVICE int least(int a, int b) { return a < b ? a : b; }
DEVICE int most(int a, int b) { return a > b ? a : b; }

/// Whether a layer computes what all of its groups owe at this position.
DEVICE bool settles_all(int window, int position, int turn) {
  return window == 0 || (position + 1 + turn) % window == 0;
}

template <class T>
DEVICE void project_query(const dv_project_arguments &a, const float *x, int item, int lane) {
  int lanes = a.heads_per_group * a.head, group = chosen_row(a.groups, 0, item / lanes);
  int row = group * lanes + item % lanes;
  float y = warp_sum(lane_dot(at<T>(a.query) + (i64)row * a.row_stride, x, a.padded_width, lane));
  if (lane == 0) at<float>(a.queries)[row] = y + (a.query_bias ? at<float>(a.query_bias)[row] : 0);
}

/// Stores one lane of a key or value.
DEVICE void store_lane(const dv_project_arguments &a, dv_address cache, int group, int position,
                       int lane, float value) {
  i64 at_position = ((i64)group * a.capacity + position) * a.padded_head;
  narrow(value, at<CACHE>(cache) + at_position + lane);
}

/// Row `j` of a group's keys or values at up to four positions, and with it row `j + half` of a
/// rotated key.
template <class T>
DEVICE void project_lane(const dv_project_arguments &a, const float *const (&x)[4], int from,
                         int count, int group, int item, int lane) {
  int half = a.rotary_half, keys = a.head - half;
  bool is_key = item < keys;
  int j = is_key ? (item < half ? item : item + half) : item - keys;
  bool turns = is_key && item < half;
  const T *rows = at<T>(is_key ? a.key : a.value) + (i64)(group * a.head + j) * a.row_stride;
  const float *bias = at<float>(is_key ? a.key_bias : a.value_bias);
  float sums[4], others[4];
  // One vector is the common case; its sum has the same bits.
  if (count == 1) {
    sums[0] = lane_dot(rows, x[0], a.padded_width, lane);
    if (turns) others[0] = lane_dot(rows + (i64)half * a.row_stride, x[0], a.padded_width, lane);
  } else {
    lane_dots<T, 4>(rows, x, a.padded_width, lane, sums);
    if (turns) lane_dots<T, 4>(rows + (i64)half * a.row_stride, x, a.padded_width, lane, others);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (i >= count) break;
    int position = from + i;
    float value = warp_sum(sums[i]) + (bias ? bias[group * a.head + j] : 0.0f);
    if (turns) {
      float other = warp_sum(others[i]) + (bias ? bias[group * a.head + j + half] : 0.0f);
      float c = at<float>(a.cosines)[(i64)position * half + j];
      float s = at<float>(a.sines)[(i64)position * half + j];
      if (lane == 0) {
        store_lane(a, a.keys, group, position, j, value * c - other * s);
        store_lane(a, a.keys, group, position, j + half, other * c + value * s);
      }
    } else if (lane == 0) {
      store_lane(a, is_key ? a.keys : a.values, group, position, j, value);
    }
  }
}

/// Keys or values that a group owes up to a position, whose input lies in `x`.
template <class T>
DEVICE void settle_lane(const dv_project_arguments &a, const float *x, int position, int group,
                        int item, int lane) {
  int first = a.window > 0 ? at<int>(a.settled)[group] : position;
  int end = a.settles_only ? position : position + 1;
  for (int from = first; from < end; from += 4) {
    const float *inputs[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int p = least(from + i, end - 1);
      inputs[i] =
          p == position ? x : at<float>(a.kept) + (i64)(p % most(a.window, 1)) * a.kept_stride;
    }
    project_lane<T>(a, inputs, from, least(4, end - from), group, item, lane);
  }
}

template <class T> DEVICE void project_heads(const dv_project_arguments &a) {
  DYNAMIC(float, x);
  SHARED float scratch[32];
  int position = at<int>(a.positions)[0];
  if (!a.settles_only) {
    load_vector<Pack<T>::count>(x, at<float>(a.x), a.width, a.norm, scratch);
    if (a.window > 0 && blockIdx.x == 0) {
      float *kept = at<float>(a.kept) + (i64)(position % a.window) * a.kept_stride;
      for (int i = threadIdx.x; i < a.kept_stride; i += blockDim.x) kept[i] = x[i];
    }
  }
  bool all = a.settles_only || settles_all(a.window, position, a.turn);
  int chosen = chosen_count(a.groups, 0);
  int groups = all ? a.group_count : chosen;
  int queries = a.settles_only ? 0 : chosen * a.heads_per_group * a.head;
  int lanes = 2 * a.head - a.rotary_half, items = queries + groups * lanes;
  int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);
  for (int item = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; item < items; item += warps) {
    if (item < queries) {
      project_query<T>(a, x, item, lane);
    } else {
      int entry = (item - queries) / lanes;
      int group = all ? entry : chosen_row(a.groups, 0, entry);
      settle_lane<T>(a, x, position, group, (item - queries) % lanes, lane);
    }
  }
  // What was read, for the tally: groups, and positions that were owed.
  if (blockIdx.x != 0 || a.settles_only) return;
  for (int entry = threadIdx.x; entry < groups; entry += blockDim.x) {
    int group = all ? entry : chosen_row(a.groups, 0, entry);
    int owed = a.window > 0 ? position - at<int>(a.settled)[group] : 0;
    atomicAdd(at<int>(a.counters) + 1, 1);
    atomicAdd(at<int>(a.counters) + 2, owed);
    if (owed > 0) atomicMax(at<int>(a.counters) + 3, owed);
  }
  if (threadIdx.x == 0) atomicAdd(at<int>(a.counters), chosen);
}
FOR_WEIGHTS(512, 1, project_heads, dv_project_arguments)

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

/// Grid: groups, parts of the cache, heads of a group.
KERNEL(128, 4) attend_cache(dv_attend_arguments a) {
  int position = at<int>(a.positions)[0], count = chosen_count(a.groups, 0), entry = blockIdx.x;
  bool leads = blockIdx.y == 0 && blockIdx.z == 0 && threadIdx.x == 0;
  if (leads && settles_all(a.window, position, a.turn)) at<int>(a.settled)[entry] = position + 1;
  if (entry >= count) return;
  int group = chosen_row(a.groups, 0, entry), head = group * a.heads_per_group + blockIdx.z;
  if (leads) at<int>(a.settled)[group] = position + 1;
  int first = a.sliding_window > 0 ? most(0, position + 1 - a.sliding_window) : 0;
  int share = (position + 1 - first + a.splits - 1) / a.splits;
  share = (most(share, 32) + 15) / 16 * 16;
  int begin = first + (int)blockIdx.y * share, end = least(begin + share, position + 1);
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
  for (int s = 0; s < splits; s++) greatest = fmaxf(greatest, parts[s * (padded_head + 2)]);
  for (int s = 0; s < splits; s++) {
    const float *part = parts + s * (padded_head + 2);
    if (part[1] == 0) continue;
    float weight = expf(part[0] - greatest);
    total = fmaf(weight, part[1], total);
    sum = fmaf(weight, part[2 + lane], sum);
  }
  return sum / total;
}

KERNEL(256, 1) merge_context(dv_context_arguments a) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.heads * a.head) return;
  const float *parts =
      at<float>(a.parts) + (i64)(i / a.head) * a.splits * (a.padded_head + 2);
  at<float>(a.context)[i] = merged(parts, a.splits, a.padded_head, i % a.head);
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
