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
    DYNAMIC(signed char, rounded);
    int plane = blockIdx.z - a.heads_per_group;
    return score_block(a.riders, (plane * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x, 0, rounded);
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
