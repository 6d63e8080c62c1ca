// Choosers: scores in 8-bit integers, and lists of the rows that meet a rule.

/// Normalises the vector and rounds it to 8 bits; returns what one unit of it stands for, 0 where
/// the vector vanishes.
DEVICE float round_vector(const dv_score_arguments &a, const float *x, float *values,
                          signed char *rounded, float *scratch) {
  load_vector<4>(values, x, a.width, a.norm, scratch);
  float greatest = 0;
  for (int i = threadIdx.x; i < a.width; i += blockDim.x)
    greatest = fmaxf(greatest, fabsf(values[i]));
  greatest = block_greatest(greatest, scratch);
  bool vanishes = !(greatest > 1e-36f);
  float scale = vanishes ? 0.0f : 127.0f / greatest;
  for (int i = threadIdx.x; i < a.columns; i += blockDim.x)
    rounded[i] = i < a.width ? (signed char)rintf(values[i] * scale) : 0;
  __syncthreads();
  return vanishes ? 0.0f : greatest / 127.0f;
}

/// One lane's share of a row's product; a group of 64 lanes has bits · 8 bytes of codes.
template <int bits>
DEVICE float lane_codes(const unsigned char *codes, const f16 *scales, const signed char *q,
                        int columns, int lane) {
  const int bytes = 64 * bits / 8;
  const u32 mask = bits == 8 ? 0xffffffffu : bits == 4 ? 0x0f0f0f0fu : 0x03030303u;
  const u32 *rounded = (const u32 *)q;
  int units = columns / 64 * bytes / 16;
  float sum = 0;
#pragma unroll 4
  for (int unit = lane; unit < units; unit += 32) {
    Quad quad = stream(codes + unit * 16);
    int group = unit * 16 / bytes, offset = unit * 16 % bytes, dot = 0, all = 0;
#pragma unroll
    for (int w = 0; w < 4; w++)
#pragma unroll
      for (int part = 0; part < 8 / bits; part++) {
        u32 values = rounded[(group * 64 + part * bytes + offset) / 4 + w];
        dot = dot4((quad.w[w] >> (part * bits)) & mask, values, dot);
        all = dot4(0x01010101u, values, all);
      }
    sum = fmaf(widen(scales[group]), (float)(2 * dot - ((1 << bits) - 1) * all), sum);
  }
  return 0.5f * sum;
}

/// Grid: blocks of rows, tokens. Shared: floats of the vector, then its bytes.
KERNEL(256, 3) score_rows(dv_score_arguments a) {
  DYNAMIC(float, values);
  SHARED float scratch[32];
  signed char *rounded = (signed char *)(values + arranged_width(a.width));
  const float *x = at<float>(a.x) + (i64)blockIdx.y * a.x_stride;
  float unit = round_vector(a, x, values, rounded, scratch);
  float *scores = at<float>(a.scores) + (i64)blockIdx.y * a.score_stride;
  const float *bias = at<float>(a.bias), *gain = at<float>(a.gain);
  int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);
  i64 bytes = (i64)a.columns * a.bits / 8;
  for (int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; row < a.rows; row += warps) {
    const unsigned char *codes = at<unsigned char>(a.codes) + row * bytes;
    const f16 *scales = at<f16>(a.scales) + (i64)row * (a.columns / 64);
    float sum = a.bits == 8   ? lane_codes<8>(codes, scales, rounded, a.columns, lane)
                : a.bits == 4 ? lane_codes<4>(codes, scales, rounded, a.columns, lane)
                              : lane_codes<2>(codes, scales, rounded, a.columns, lane);
    float y = warp_sum(sum) * unit;
    if (lane == 0) scores[row] = (y + (bias ? bias[row] : 0.0f)) * (gain ? gain[row] : 1.0f);
  }
}

/// A float's bits in an order that integers share.
DEVICE u32 ordered(float value) {
  u32 bits = __float_as_uint(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/// The value with exactly `skipped` greater-or-equal ones before it in falling order.
DEVICE float ranked_value(const float *scores, int rows, int skipped) {
  SHARED int bins[256];
  SHARED u32 found;
  SHARED int left;
  u32 prefix = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < rows; i += blockDim.x) {
      u32 key = ordered(scores[i]);
      bool matches = shift == 24 || (key >> (shift + 8)) == (prefix >> (shift + 8));
      if (matches) atomicAdd(&bins[(key >> shift) & 255], 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int bin = 255;
      while (bin > 0 && skipped >= bins[bin]) skipped -= bins[bin--];
      found = (u32)bin;
      left = skipped;
    }
    __syncthreads();
    prefix |= found << shift;
    skipped = left;
    __syncthreads();
  }
  return __uint_as_float(prefix & 0x80000000u ? prefix & 0x7fffffffu : ~prefix);
}

/// A block to a token; the list is ascending.
KERNEL(1024, 1) select_rows(dv_select_arguments a) {
  SHARED int counts[32];
  const float *scores = at<float>(a.scores) + (i64)blockIdx.x * a.score_stride;
  int *list = at<int>(a.lists) + (i64)blockIdx.x * a.list_stride;
  float threshold = a.threshold;
  bool all = a.keep >= a.rows;
  if (a.keep > 0 && !all) threshold = ranked_value(scores, a.rows, a.keep);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, done = 0;
  for (int from = 0; from < a.rows; from += blockDim.x) {
    int row = from + threadIdx.x;
    bool chosen = row < a.rows && (all || scores[row] > threshold);
    u32 votes = __ballot_sync(all_lanes, chosen);
    if (lane == 0) counts[warp] = __popc(votes);
    __syncthreads();
    int before = 0, sum = 0;
    for (int w = 0; w < (int)blockDim.x / 32; w++) {
      before += w < warp ? counts[w] : 0;
      sum += counts[w];
    }
    if (chosen) list[done + before + __popc(votes & ((1u << lane) - 1))] = row;
    done += sum;
    __syncthreads();
  }
  if (threadIdx.x == 0) at<int>(a.counts)[blockIdx.x] = done;
}
