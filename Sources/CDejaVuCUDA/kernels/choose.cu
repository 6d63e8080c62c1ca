// Vectors as their readers want them, and lists of the rows that meet a rule.

DEVICE float scale_of(const dv_prepare_job &job, float squares) {
  return 1.0f / sqrtf(squares / job.width + job.norm.epsilon);
}

/// The moments of a vector from the sums of its tiles, by every warp.
DEVICE void moments_of_tiles(const dv_prepare_job &job, const float *tiles, int tile_width, float *mean,
                             float *scale) {
  int lane = threadIdx.x % 32, count = (job.width + tile_width - 1) / tile_width;
  float sum = 0, squares = 0;
#pragma unroll 4
  for (int t = lane; t < count; t += 32) sum += tiles[2 * t];
  if (job.norm.kind == 1) *mean = warp_sum(sum) / job.width;
#pragma unroll 4
  for (int t = lane; t < count; t += 32) {
    int many = least(tile_width, job.width - t * tile_width);
    // Many blocks wait for this, and few tiles are not whole: those alone are divided.
    float own = many == tile_width ? tiles[2 * t] * (1.0f / tile_width) : tiles[2 * t] / many;
    float apart = own - *mean;
    squares += fmaf(many * apart, apart, tiles[2 * t + 1]);
  }
  *scale = scale_of(job, warp_sum(squares));
}

/// The same of a vector in shared memory; every thread reads what it has copied itself.
DEVICE void moments_of(const dv_prepare_job &job, const float *values, float *scratch, float *mean,
                       float *scale) {
  float sum = 0, squares = 0;
  for (int i = 4 * threadIdx.x; i < job.width; i += 4 * blockDim.x)
#pragma unroll
    for (int k = 0; k < 4; k++) sum += values[i + k];
  if (job.norm.kind == 1) *mean = block_sum(sum, scratch) / job.width;
  for (int i = 4 * threadIdx.x; i < job.width; i += 4 * blockDim.x)
#pragma unroll
    for (int k = 0; k < 4; k++)
      if (i + k < job.width)
        squares = fmaf(values[i + k] - *mean, values[i + k] - *mean, squares);
  *scale = scale_of(job, block_sum(squares, scratch));
}

/// Stores four neighbours at once.
DEVICE void store_four(float *to, const float (&values)[4]) {
  Quad quad;
#pragma unroll
  for (int k = 0; k < 4; k++) quad.w[k] = __float_as_uint(values[k]);
  *(Quad *)to = quad;
}
template <class T> DEVICE void store_four(T *to, const T (&values)[4]) {
  *(u64 *)to = (u64)values[0].bits | (u64)values[1].bits << 16 | (u64)values[2].bits << 32 |
               (u64)values[3].bits << 48;
}

#ifdef CODE_GROUP
/// Stores four neighbours of a vector that meets codes; a warp has a block of 128 columns.
DEVICE void store_planes(char *planes, const Quad &four, int i, int wide) {
  float greatest = 0;
  u32 high = 0, low = 0;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    float size = fabsf(__uint_as_float(four.w[k]));
    // What is no number makes the step none, so that rounding hides neither.
    greatest = size <= 3.4e38f ? fmaxf(greatest, size) : INFINITY;
  }
  greatest = warp_greatest(greatest);
  float inverse = greatest > 1e-30f ? 32639.0f / greatest : 0.0f;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    int rounded = (int)rintf(__uint_as_float(four.w[k]) * inverse), top = (rounded + 128) >> 8;
    high |= (u32)(top & 255) << (8 * k);
    low |= (u32)((rounded - 256 * top) & 255) << (8 * k);
  }
  int lane = i / 4 % 32, block = i / 128;
  char *to = planes + 256 * block + lane / 16 * 128 + lane % 4 * 16 + lane % 16 / 4 * 4;
  *(u32 *)to = high;
  *(u32 *)(to + 64) = low;
  if (lane == 0) ((float *)(planes + 2 * wide))[block] = greatest / 32639.0f;
}
#endif

/// Columns of a vector that a block prepares.
struct Columns { int begin, end; };

/// Vectors whose moments are known are shared out; of others the first block has all.
DEVICE Columns share_columns(const dv_prepare_job &job, bool has_sums) {
  int wide = arranged_width(job.width), blocks = gridDim.z, block = blockIdx.z;
  if (job.norm.kind && !has_sums) return {0, block == 0 ? wide : 0};
  int each = arranged_width((wide + blocks - 1) / blocks), begin = each * block;
  return {begin, least(begin + each, wide)};
}

/// Asks for a thread's pieces of what a norm multiplies or adds, beside what it does.
DEVICE void stage_vector(float *to, const float *from, int width, const Columns &own) {
  for (int i = own.begin + 4 * threadIdx.x; i < own.end; i += 4 * blockDim.x) {
    if (i + 3 < width) copy_quad(to + i, from + i);
    else *(Quad *)(to + i) = read_piece(from, i, width);
  }
}

/// Four neighbours of a token's vector from lane i on through a norm, stored in the forms that are asked for.
/// `gain` and `offset` are theirs in shared memory, or null.
DEVICE void store_prepared(const dv_prepare_job &job, int token, int i, Quad four, const float *gain,
                           const float *offset, float mean, float scale) {
  Quad gains, offsets;
  if (gain) gains = *(const Quad *)gain;
  if (offset) offsets = *(const Quad *)offset;
  CACHE halves[4];
#pragma unroll
  for (int k = 0; k < 4; k++) {
    float value = __uint_as_float(four.w[k]);
    if (job.norm.kind) value = (value - mean) * scale;
    if (gain) value *= __uint_as_float(gains.w[k]);
    if (offset) value += __uint_as_float(offsets.w[k]);
    if (i + k >= job.width) value = 0;
    four.w[k] = __float_as_uint(value);
    narrow(value, halves + k);
  }
  if (job.kept) store_four(at<CACHE>(job.kept) + i, halves);
  if (job.floats) *(Quad *)(at<float>(job.floats) + (job.by_eight ? arranged<8>(i) : i)) = four;
#ifdef CODE_GROUP
  if (job.planes) store_planes(at<char>(job.planes), four, i, arranged_width(job.width));
#endif
  if (!job.rounded || i >= job.columns) return;
  store_eighths(at<signed char>(job.rounded) + (i64)token * job.rounded_stride, job.columns, four, i);
}

/// Normalises a vector once for all who read it: as floats in the order of `arranged`, in the cache's
/// type, or in 8 bits. Grid: jobs, tokens, shares of the columns. Shared: the vector, gains and offsets.
KERNEL(1024, 1) prepare_vectors(const GRID_CONSTANT dv_prepare_arguments a) {
  DYNAMIC(float, values);
  SHARED float scratch[32];
  const dv_prepare_job &job = a.jobs[blockIdx.x];
  int wide = arranged_width(job.width), kind = job.norm.kind;
  bool gain = kind && job.norm.weight, offset = kind && job.norm.bias;
  float *gains = values + wide, *offsets = gains + wide;
  const float *x = at<float>(job.x) + (i64)blockIdx.y * job.x_stride;
  bool has_sums = kind && job.norm.tiles;
  Columns own = share_columns(job, has_sums);
  if (gain) stage_vector(gains, at<float>(job.norm.weight), job.width, own);
  if (offset) stage_vector(offsets, at<float>(job.norm.bias), job.width, own);
  await_inputs();
  // Threads read what they have copied themselves, and sums of tiles meanwhile. Where the vector is shared
  // out a warp without columns is not needed.
  bool is_shared = own.begin > 0 || own.end < wide;
  if (own.begin + (is_shared ? 4 * (int)threadIdx.x : 0) >= own.end) return;
  stage_vector(values, x, job.width, own);
  float mean = 0, scale = 1;
  if (has_sums) moments_of_tiles(job, at<float>(job.norm.tiles), job.norm.tile_width, &mean, &scale);
  await_copies();
  if (kind && !has_sums) moments_of(job, values, scratch, &mean, &scale);
  for (int i = own.begin + 4 * threadIdx.x; i < own.end; i += 4 * blockDim.x)
    store_prepared(job, blockIdx.y, i, *(const Quad *)(values + i), gain ? gains + i : 0,
                   offset ? offsets + i : 0, mean, scale);
}

/// Grid: blocks of all jobs, tokens; lists are made for a single token. Shared: as `score_block` says.
KERNEL(320, 2) score_rows(const GRID_CONSTANT dv_score_arguments a) {
  DYNAMIC(signed char, rounded);
  score_block(a, blockIdx.x, blockIdx.y, rounded);
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
  DYNAMIC(float, copy);
  SHARED int counts[32];
  await_inputs();
  const float *scores = at<float>(a.scores) + (i64)blockIdx.x * a.score_stride;
  if (a.fits) {
#pragma unroll 8
    for (int i = threadIdx.x; i < a.rows; i += blockDim.x) copy[i] = scores[i];
    scores = copy;
    __syncthreads();
  }
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
  if (threadIdx.x != 0) return;
  at<int>(a.counts)[blockIdx.x] = sum;
  if (a.level) *at<float>(a.level) = threshold;
}
