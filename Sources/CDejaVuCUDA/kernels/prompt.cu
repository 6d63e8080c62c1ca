// Batches of tokens: products, the cache's new entries, causal attention, masks.

DEVICE float finished(float sum, const dv_product_arguments &a, int n) {
  if (a.bias) sum += at<float>(a.bias)[n];
  return a.activation < 0 ? sum : activated(sum, a.activation);
}

/// Tiles of 64 tokens by 64 columns in float32; `by_rows` says how b lies.
template <class T, bool by_rows> DEVICE void multiply(const dv_product_arguments &a) {
  SHARED float left[16][68], right[16][68];
  int t0 = blockIdx.y * 64, n0 = blockIdx.x * 64;
  int row = threadIdx.x / 16, column = threadIdx.x % 16;
  float sums[4][4] = {};
  for (int k0 = 0; k0 < a.k; k0 += 16) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int at_tile = i * 256 + threadIdx.x;
      int k = at_tile % 16, t = at_tile / 16;
      bool inside = t0 + t < a.tokens && k0 + k < a.k;
      left[k][t] = inside ? at<float>(a.a)[(i64)(t0 + t) * a.a_stride + k0 + k] : 0.0f;
      int n = by_rows ? t : at_tile % 64;
      if (!by_rows) k = at_tile / 64;
      int of = by_rows ? n0 + n : k0 + k, column = by_rows ? k0 + k : n0 + n;
      const T *own = at<T>(a.b) + (i64)of * a.b_stride;
      right[k][n] = n0 + n < a.n && k0 + k < a.k ? element(own, column, by_rows ? a.k : a.n) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 16; k++)
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
          sums[i][j] = fmaf(left[k][row * 4 + i], right[k][column * 4 + j], sums[i][j]);
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int t = t0 + row * 4 + i, n = n0 + column * 4 + j;
      if (t >= a.tokens || n >= a.n) continue;
      float value = finished(sums[i][j], a, n);
      at<float>(a.out)[(i64)t * a.out_stride + n] = value;
      if (a.flag && !(fabsf(value) <= 3.4e38f)) *at<int>(a.flag) = 1;
    }
}
template <class T> DEVICE void multiply_rows(const dv_product_arguments &a) { multiply<T, true>(a); }
template <class T> DEVICE void multiply_columns(const dv_product_arguments &a) {
  multiply<T, false>(a);
}
FOR_ALL_WEIGHTS(256, 2, multiply_rows, dv_product_arguments)
FOR_ALL_WEIGHTS(256, 2, multiply_columns, dv_product_arguments)

/// Lane `i` of a head that turns with its partner.
DEVICE float turned(const float *head, int i, int half, const float *c, const float *s) {
  if (i < half) return head[i] * c[i] - head[i + half] * s[i];
  if (i < 2 * half) return head[i] * c[i - half] + head[i - half] * s[i - half];
  return head[i];
}

/// Four neighbours as a cache keeps them.
DEVICE void keep_four(float *to, const float (&x)[4]) { store_piece(to, 0, 4, x); }
template <class C> DEVICE void keep_four(C *to, const float (&x)[4]) {
  *(Halves *)to = {{pair(x[0], x[1], C()), pair(x[2], x[3], C())}};
}

/// Grid: tokens, and blocks that share a token's heads.
KERNEL(256, 1) store_keys(dv_store_arguments a) {
  int t = blockIdx.x, position = a.position + t, half = a.rotary_half;
  const float *keys = at<float>(a.projected) + (i64)t * a.stride + a.heads * a.head;
  const float *values = keys + a.groups * a.head;
  const float *c = at<float>(a.cosines) + (i64)position * half;
  const float *s = at<float>(a.sines) + (i64)position * half;
  // Four lanes to a thread where heads are made of fours.
  const int lanes = a.head % 4 == 0 ? 4 : 1;
  int i = (blockIdx.y * blockDim.x + threadIdx.x) * lanes;
  for (; i < a.groups * a.head; i += gridDim.y * blockDim.x * lanes) {
    int group = i / a.head, lane = i % a.head;
    i64 index = ((i64)group * a.capacity + position) * a.padded_head + lane;
    const float *head = keys + group * a.head;
    CACHE *key = at<CACHE>(a.keys) + index, *value = at<CACHE>(a.values) + index;
    if (lanes == 1) {
      narrow(turned(head, lane, half, c, s), key);
      narrow(values[i], value);
      continue;
    }
    float four[2][4];
    unpack(*(const Quad *)(values + i), four[1], 0.0f);
    if (half == 0) unpack(*(const Quad *)(head + lane), four[0], 0.0f);
    else
#pragma unroll
      for (int k = 0; k < 4; k++) four[0][k] = turned(head, lane + k, half, c, s);
    keep_four(key, four[0]);
    keep_four(value, four[1]);
  }
  if (t != 0 || blockIdx.y != 0) return;
  for (int g = threadIdx.x; g < a.groups; g += blockDim.x)
    at<int>(a.settled)[g] = a.position + a.tokens;
}

/// Turns every query in place. Grid: tokens, and blocks that share a token's heads.
KERNEL(256, 1) turn_queries(dv_store_arguments a) {
  int position = a.position + blockIdx.x, half = a.rotary_half;
  float *queries = at<float>(a.projected) + (i64)blockIdx.x * a.stride;
  const float *c = at<float>(a.cosines) + (i64)position * half;
  const float *s = at<float>(a.sines) + (i64)position * half;
  int own = blockIdx.y * blockDim.x + threadIdx.x;
#pragma unroll 4
  for (int i = own; i < a.heads * half; i += gridDim.y * blockDim.x) {
    float *head = queries + i / half * a.head;
    int j = i % half;
    float x = head[j], y = head[j + half];
    head[j] = x * c[j] - y * s[j];
    head[j + half] = y * c[j] + x * s[j];
  }
}

enum { head_lanes = (padded_lanes + 31) / 32, key_stride = padded_lanes + 1 };

/// Eight queries of one head share tiles of 32 keys and values, for caches of floats. Grid: tiles of eight
/// tokens, heads.
DEVICE void attend_queries(const dv_prompt_arguments &a, float) {
  DYNAMIC(float, memory);
  float *keys = memory, *values = memory + 32 * key_stride, *queries = values + 32 * key_stride;
  int head = blockIdx.y, group = head / a.heads_per_group;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, t = blockIdx.x * 8 + warp;
  int last = least((int)blockIdx.x * 8 + 8, a.tokens) - 1, position = a.position + t;
  float *query = queries + warp * padded_lanes;
  for (int i = lane; i < a.head; i += 32)
    query[i] = t < a.tokens
                   ? at<float>(a.projected)[(i64)t * a.stride + head * a.head + i] * a.scale
                   : 0.0f;
  i64 plane = (i64)group * a.capacity * a.padded_head;
  float slope = a.slopes ? at<float>(a.slopes)[head] : 0.0f;
  int first = a.sliding_window > 0 ? most(0, position + 1 - a.sliding_window) : 0;
  int block_first =
      a.sliding_window > 0 ? most(0, a.position + (int)blockIdx.x * 8 + 1 - a.sliding_window) : 0;
  float greatest = -INFINITY, total = 0, acc[head_lanes];
#pragma unroll
  for (int c = 0; c < head_lanes; c++) acc[c] = 0;
  for (int tile = block_first; tile <= a.position + last; tile += 32) {
    __syncthreads();
    for (int i = threadIdx.x; i < 32 * a.head; i += blockDim.x) {
      int p = tile + i / a.head, at_lane = i % a.head;
      i64 index = plane + (i64)p * a.padded_head + at_lane;
      bool inside = p <= a.position + last;
      keys[i / a.head * key_stride + at_lane] = inside ? widen(at<CACHE>(a.keys)[index]) : 0.0f;
      values[i / a.head * key_stride + at_lane] = inside ? widen(at<CACHE>(a.values)[index]) : 0.0f;
    }
    __syncthreads();
    int p = tile + lane;
    bool seen = t < a.tokens && p >= first && p <= position;
    float score = 0;
    for (int i = 0; i < a.head; i++) score = fmaf(query[i], keys[lane * key_stride + i], score);
    score = seen ? score + slope * (float)(p - position) : -INFINITY;
    float next = fmaxf(greatest, warp_greatest(score));
    // A tile before the first position that this query sees.
    if (next == -INFINITY) continue;
    float power = expf(score - next), correction = expf(greatest - next);
    total = total * correction + warp_sum(power);
    greatest = next;
#pragma unroll
    for (int c = 0; c < head_lanes; c++) acc[c] *= correction;
    for (int j = 0; j < 32; j++) {
      float weight = __shfl_sync(all_lanes, power, j);
#pragma unroll
      for (int c = 0; c < head_lanes; c++) {
        int i = lane + 32 * c;
        if (i < a.head) acc[c] = fmaf(weight, values[j * key_stride + i], acc[c]);
      }
    }
  }
  if (t >= a.tokens) return;
  float *context = at<float>(a.context) + (i64)t * a.context_stride + head * a.head;
#pragma unroll
  for (int c = 0; c < head_lanes; c++)
    if (lane + 32 * c < a.head) context[lane + 32 * c] = acc[c] / total;
}

/// Blocks of 256 threads where the cache keeps floats, of 128 where it keeps halves; see
/// `attend_queries` of each.
KERNEL(sizeof(CACHE) == 4 ? 256 : 128, sizeof(CACHE) == 4 ? 1 : 2)
attend_prompt(dv_prompt_arguments a) { attend_queries(a, CACHE()); }

/// A block to a token: walks through the ascending list.
KERNEL(256, 1) mask_rows(dv_mask_arguments a) {
  int t = blockIdx.x, count = chosen_count(a.rows, t);
  const int *list = at<int>(a.rows.list) + (i64)t * a.rows.stride;
  float *values = at<float>(a.values) + (i64)t * a.stride;
  u16 *shorts = at<u16>(a.values) + (i64)t * a.stride;
  for (int row = threadIdx.x; row < a.rows.all; row += blockDim.x) {
    int low = 0, high = count;
    while (low < high) {
      int middle = (low + high) / 2;
      if (list[middle] < row) low = middle + 1;
      else high = middle;
    }
    if (low < count && list[low] == row) continue;
    for (int i = row * a.lanes; i < (row + 1) * a.lanes; i++) {
      if (a.is_short) shorts[i] = 0;
      else values[i] = 0;
    }
  }
  if (threadIdx.x == 0) atomicAdd(at<int>(a.counter), count);
}

/// A block to a token.
KERNEL(256, 1) activate_rows(dv_activate_arguments a) {
  float *values = at<float>(a.values) + (i64)blockIdx.x * a.stride;
  const float *gates = a.gates ? at<float>(a.gates) + (i64)blockIdx.x * a.stride : 0;
  for (int i = threadIdx.x; i < a.width; i += blockDim.x)
    values[i] = gates ? values[i] * activated(gates[i], a.activation)
                      : activated(values[i], a.activation);
}
