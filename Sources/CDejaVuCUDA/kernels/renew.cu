// The stream behind a block and what the next one reads of it: `add_parts` and `prepare_vectors` in one launch,
// with the same bits. Blocks tell each other what they know of their columns through memory, which takes less
// than a second launch; all of them live at once.

enum { renew_threads = 512, renew_columns = 1024 };

/// What a block knows of every 32 of its columns, and then of all tiles `[sum, squares, greatest]`.
struct Renewal {
  float sums[renew_columns / 32], squares[renew_columns / 32], sizes[renew_columns / 32];
  float tiles[3 * dv_renew_tiles];
};

/// 16 shares of the parts of the block's columns.
DEVICE void add_shares(const dv_add_arguments &a, float *shares, int begin, int columns) {
  int fours = columns / 4;
  for (int u = threadIdx.x; u < 16 * fours; u += blockDim.x) {
    int four = u % fours, share = u / fours, column = begin + 4 * four;
    float sum[4] = {0, 0, 0, 0};
    const float *parts = at<float>(a.parts) + column;
#pragma unroll 4
    for (int s = share; s < a.slices && column < a.width; s += 16) {
      Quad quad = *(const Quad *)(parts + (i64)s * a.part_stride);
#pragma unroll
      for (int k = 0; k < 4; k++) sum[k] += __uint_as_float(quad.w[k]);
    }
    store_four(shares + share * columns + 4 * four, sum);
  }
}

/// A sum over a tile from those of its four warps, as `block_sum` adds them.
DEVICE float tile_sum(const float *warps) { return (warps[0] + warps[2]) + (warps[1] + warps[3]); }

/// The stream's new columns, in memory and in shared memory, and their sums; a thread has up to two, and brings
/// what they were and their bias.
DEVICE void add_columns(const dv_add_arguments &a, Renewal &renewal, const float (&before)[2],
                        const float (&bias)[2], const float *shares, float *values, int begin,
                        int columns) {
#pragma unroll
  for (int k = 0; k < 2; k++) {
    int own = threadIdx.x + k * renew_threads, column = begin + own;
    if (own >= columns) break;
    float total = 0, value = 0;
#pragma unroll
    for (int s = 0; s < 16; s++) total += shares[s * columns + own];
    if (column < a.width) {
      value = before[k] + bias[k] + total;
      at<float>(a.x)[column] = value;
    }
    values[own] = value;
    float sum = warp_sum(value), size = warp_greatest(fabsf(value));
    if (own % 32 != 0) continue;
    renewal.sums[own / 32] = sum;
    renewal.sizes[own / 32] = size;
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < 2; k++) {
    int own = threadIdx.x + k * renew_threads, column = begin + own, tile = own / 128 * 128;
    if (own >= columns) break;
    float mean = tile_sum(renewal.sums + tile / 32) / least(128, most(a.width - begin - tile, 1));
    float squares = warp_sum(column < a.width ? (values[own] - mean) * (values[own] - mean) : 0);
    if (own % 32 == 0) renewal.squares[own / 32] = squares;
  }
  __syncthreads();
}

/// Leaves what is known of the block's tiles for the other blocks, and for whoever reads the stream later.
DEVICE void leave_tiles(const dv_renew_arguments &a, const Renewal &renewal, int begin, int tiles) {
  int i = threadIdx.x, tile = i / 3, what = i % 3, place = begin / 128 * 3 + i;
  if (tile >= a.columns / 128 || place >= 3 * tiles) return;
  const float *sizes = renewal.sizes + 4 * tile;
  float value = what == 0   ? tile_sum(renewal.sums + 4 * tile)
                : what == 1 ? tile_sum(renewal.squares + 4 * tile)
                            : fmaxf(fmaxf(sizes[0], sizes[1]), fmaxf(sizes[2], sizes[3]));
  leave_marked(at<u64>(a.marks) + place, value);
  at<u64>(a.next_marks)[place] = 0;
  if (a.sum.tiles) at<float>(a.sum.tiles)[place] = value;
}

/// Where a job's gains and offsets lie in shared memory, in the order of the jobs.
struct Staged {
  float *next;
  int columns;
  DEVICE_MEMBER float *take(dv_address vector) {
    if (!vector) return 0;
    float *own = next;
    next += columns;
    return own;
  }
};

/// The block's columns as a job wants them, by one warp.
DEVICE void prepare_columns(const dv_prepare_job &job, const Renewal &renewal, const float *values,
                            const float *gains, const float *offsets, int begin, int columns) {
  float mean = 0, scale = 1, greatest = 0;
  if (job.norm.kind) moments_of_tiles(job, renewal.tiles, 128, &mean, &scale, &greatest);
  Eighths eighths = eighths_of(greatest);
  for (int own = 4 * (threadIdx.x % 32); own < columns; own += 128) {
    int i = begin + own;
    if (i >= arranged_width(job.width)) break;
    Quad four = store_prepared(job, i, *(const Quad *)(values + own), gains ? gains + own : 0,
                               offsets ? offsets + own : 0, mean, scale);
    if (!job.rounded) continue;
    if (i < job.columns)
      *(u32 *)(at<signed char>(job.rounded) + i) = round_four(four, i, job.width, eighths.scale);
    if (i == 0) *at<float>(job.units) = eighths.unit;
  }
}

/// Grid: blocks of the sum, then one for each list. Shared: 16 shares of the parts, the columns' values, gains
/// and offsets of every job that has them.
KERNEL(renew_threads, 2) renew_stream(const GRID_CONSTANT dv_renew_arguments a) {
  DYNAMIC(float, shares);
  SHARED Renewal renewal;
  if ((int)blockIdx.x >= a.blocks) {
    await_inputs();
    const dv_list_job &job = a.sum.lists[blockIdx.x - a.blocks];
    return list_bits(at<int>(job.bits_above), job.rows, job.count, job.list);
  }
  int begin = blockIdx.x * a.columns, tiles = (a.sum.width + 127) / 128, warp = threadIdx.x / 32;
  float *values = shares + 16 * a.columns;
  Columns own = {0, least(a.columns, arranged_width(a.sum.width) - begin)};
  Staged staged = {values + a.columns, a.columns};
  const float *gains = 0, *offsets = 0;
  for (int j = 0; j < a.job_count; j++) {
    const dv_norm &norm = a.jobs[j].norm;
    float *gain = staged.take(norm.weight), *offset = staged.take(norm.bias);
    if (gain) stage_vector(gain, at<float>(norm.weight) + begin, a.sum.width - begin, own);
    if (offset) stage_vector(offset, at<float>(norm.bias) + begin, a.sum.width - begin, own);
    if (j == warp) (gains = gain, offsets = offset);
  }
  float before[2], bias[2];
#pragma unroll
  for (int k = 0; k < 2; k++) {
    int place = (int)threadIdx.x + k * renew_threads, column = begin + place;
    bool owns = place < a.columns && column < a.sum.width;
    bias[k] = owns && a.sum.bias ? at<float>(a.sum.bias)[column] : 0.0f;
  }
  await_inputs();
#pragma unroll
  for (int k = 0; k < 2; k++) {
    int place = (int)threadIdx.x + k * renew_threads, column = begin + place;
    before[k] = place < a.columns && column < a.sum.width ? at<float>(a.sum.x)[column] : 0.0f;
  }
  add_shares(a.sum, shares, begin, a.columns);
  await_copies();
  __syncthreads();
  add_columns(a.sum, renewal, before, bias, shares, values, begin, a.columns);
  leave_tiles(a, renewal, begin, tiles);
  __syncthreads();
  for (int i = threadIdx.x; i < 3 * tiles; i += blockDim.x)
    renewal.tiles[i] = await_marked(at<u64>(a.marks) + i);
  __syncthreads();
  if (warp < a.job_count)
    prepare_columns(a.jobs[warp], renewal, values, gains, offsets, begin, a.columns);
}
