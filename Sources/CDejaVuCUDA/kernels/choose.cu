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

/// One lane's share of the products of neighbouring rows; a group of 64 lanes has bits · 8 bytes of
/// codes. A row's sum has the same bits whatever rows are read beside it.
template <int bits, int many>
DEVICE void lane_codes(const unsigned char *const (&codes)[many], const f16 *const (&scales)[many],
                       const signed char *q, int columns, int lane, float (&sums)[many]) {
  const int bytes = 64 * bits / 8;
  const u32 mask = bits == 8 ? 0xffffffffu : bits == 4 ? 0x0f0f0f0fu : 0x03030303u;
  const Quad *rounded = (const Quad *)q;
  int units = columns / 64 * bytes / 16;
#pragma unroll
  for (int r = 0; r < many; r++) sums[r] = 0;
#pragma unroll(many == 1 ? 4 : 1)
  for (int unit = lane; unit < units; unit += 32) {
    Quad quads[many];
#pragma unroll
    for (int r = 0; r < many; r++) quads[r] = stream(codes[r] + unit * 16);
    int group = unit * 16 / bytes, offset = unit * 16 % bytes, dots[many], all = 0;
#pragma unroll
    for (int r = 0; r < many; r++) dots[r] = 0;
#pragma unroll
    for (int part = 0; part < 8 / bits; part++) {
      Quad values = rounded[(group * 64 + part * bytes + offset) / 16];
#pragma unroll
      for (int w = 0; w < 4; w++) {
        all = dot4(0x01010101u, values.w[w], all);
#pragma unroll
        for (int r = 0; r < many; r++)
          dots[r] = dot4((quads[r].w[w] >> (part * bits)) & mask, values.w[w], dots[r]);
      }
    }
#pragma unroll
    for (int r = 0; r < many; r++)
      sums[r] = fmaf(widen(scales[r][group]), (float)(2 * dots[r] - ((1 << bits) - 1) * all), sums[r]);
  }
#pragma unroll
  for (int r = 0; r < many; r++) sums[r] *= 0.5f;
}

/// Scores `many` rows from `first` on by one warp; rows behind the last are read and not kept.
template <int bits, int many>
DEVICE void score_together(const dv_score_arguments &a, const signed char *rounded, float unit,
                           int first, int lane, float *scores) {
  i64 bytes = (i64)a.columns * bits / 8;
  const unsigned char *codes[many];
  const f16 *scales[many];
#pragma unroll
  for (int r = 0; r < many; r++) {
    i64 row = least(first + r, a.rows - 1);
    codes[r] = at<unsigned char>(a.codes) + row * bytes;
    scales[r] = at<f16>(a.scales) + row * (a.columns / 64);
  }
  float sums[many];
  lane_codes<bits, many>(codes, scales, rounded, a.columns, lane, sums);
  const float *bias = at<float>(a.bias), *gain = at<float>(a.gain);
#pragma unroll
  for (int r = 0; r < many; r++) {
    float y = warp_sum(sums[r]) * unit;
    int row = first + r;
    if (lane == 0 && row < a.rows)
      scores[row] = (y + (bias ? bias[row] : 0.0f)) * (gain ? gain[row] : 1.0f);
  }
}

/// Short rows are scored four at a time, so that enough of them are on their way; where there are
/// too few to go round, a warp takes one.
template <int bits>
DEVICE void score_all(const dv_score_arguments &a, const signed char *rounded, float unit,
                      float *scores) {
  int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);
  int warp = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (a.rows >= 4 * warps) {
    for (int row = 4 * warp; row < a.rows; row += 4 * warps)
      score_together<bits, 4>(a, rounded, unit, row, lane, scores);
  } else {
    for (int row = warp; row < a.rows; row += warps)
      score_together<bits, 1>(a, rounded, unit, row, lane, scores);
  }
}

/// Grid: blocks of rows, tokens. Shared: floats of the vector, then its bytes.
KERNEL(256, 3) score_rows(dv_score_arguments a) {
  DYNAMIC(float, values);
  SHARED float scratch[32];
  signed char *rounded = (signed char *)(values + arranged_width(a.width));
  const float *x = at<float>(a.x) + (i64)blockIdx.y * a.x_stride;
  float unit = round_vector(a, x, values, rounded, scratch);
  float *scores = at<float>(a.scores) + (i64)blockIdx.y * a.score_stride;
  if (a.bits == 8) score_all<8>(a, rounded, unit, scores);
  else if (a.bits == 4) score_all<4>(a, rounded, unit, scores);
  else score_all<2>(a, rounded, unit, scores);
}

/// A float's bits in an order that integers share.
DEVICE u32 ordered(float value) {
  u32 bits = __float_as_uint(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/// Counts every lane's bin, one addition for all lanes that share one; below 0 is none.
DEVICE void count_together(int *bins, int bin) {
  int lane = threadIdx.x % 32;
  u32 left = __ballot_sync(all_lanes, bin >= 0);
  while (left) {
    int leader = __popc((left & (0u - left)) - 1);
    int shared = __shfl_sync(all_lanes, bin, leader);
    u32 same = __ballot_sync(all_lanes, bin == shared);
    if (lane == leader) atomicAdd(&bins[shared], __popc(same));
    left &= ~same;
  }
}

/// Finds the bin that holds the value with `skipped` ones above it, by one warp.
DEVICE void find_bin(const int *bins, int skipped, int *found, int *rest) {
  int lane = threadIdx.x % 32, top = 255 - 8 * lane, own = 0;
#pragma unroll
  for (int i = 0; i < 8; i++) own += bins[top - i];
  int sum = own;
#pragma unroll
  for (int step = 1; step < 32; step <<= 1) {
    int other = __shfl_sync(all_lanes, sum, lane >= step ? lane - step : lane);
    if (lane >= step) sum += other;
  }
  if (skipped < sum - own || skipped >= sum) return;
  skipped -= sum - own;
  int bin = top;
  while (skipped >= bins[bin]) skipped -= bins[bin--];
  *found = bin;
  *rest = skipped;
}

/// The value with exactly `skipped` greater-or-equal ones before it in falling order.
DEVICE float ranked_value(const float *scores, int rows, int skipped) {
  SHARED int bins[256], found, rest;
  u32 prefix = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
    __syncthreads();
    for (int from = 0; from < rows; from += blockDim.x) {
      int row = from + threadIdx.x;
      u32 key = row < rows ? ordered(scores[row]) : 0;
      int bin = (int)((key >> shift) & 255);
      // Signs and exponents of scores are few; what lies below them is not.
      if (shift == 24) count_together(bins, row < rows ? bin : -1);
      else if (row < rows && (key ^ prefix) >> (shift + 8) == 0) atomicAdd(&bins[bin], 1);
    }
    __syncthreads();
    if (threadIdx.x < 32) find_bin(bins, skipped, &found, &rest);
    __syncthreads();
    prefix |= (u32)found << shift;
    skipped = rest;
    __syncthreads();
  }
  return __uint_as_float(prefix & 0x80000000u ? prefix & 0x7fffffffu : ~prefix);
}

/// A block to a token; the list is ascending. Every warp counts what it chooses of its share of the
/// rows, and writes it behind what the warps before it counted.
KERNEL(1024, 1) select_rows(dv_select_arguments a) {
  SHARED int counts[32];
  const float *scores = at<float>(a.scores) + (i64)blockIdx.x * a.score_stride;
  int *list = at<int>(a.lists) + (i64)blockIdx.x * a.list_stride;
  float threshold = a.threshold;
  bool all = a.keep >= a.rows;
  if (a.keep > 0 && !all) threshold = ranked_value(scores, a.rows, a.keep);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  int share = ((a.rows + warps - 1) / warps + 31) / 32 * 32;
  int begin = least(warp * share, a.rows), end = least(begin + share, a.rows), count = 0;
#pragma unroll 4
  for (int from = begin; from < end; from += 32) {
    int row = from + lane;
    bool chosen = row < end && (all || scores[row] > threshold);
    count += __popc(__ballot_sync(all_lanes, chosen));
  }
  if (lane == 0) counts[warp] = count;
  __syncthreads();
  int next = 0, sum = 0;
  for (int w = 0; w < warps; w++) {
    next += w < warp ? counts[w] : 0;
    sum += counts[w];
  }
#pragma unroll 4
  for (int from = begin; from < end; from += 32) {
    int row = from + lane;
    bool chosen = row < end && (all || scores[row] > threshold);
    u32 votes = __ballot_sync(all_lanes, chosen);
    if (chosen) list[next + __popc(votes & ((1u << lane) - 1))] = row;
    next += __popc(votes);
  }
  if (threadIdx.x == 0) at<int>(a.counts)[blockIdx.x] = sum;
}
