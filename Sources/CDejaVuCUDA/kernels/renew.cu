// The stream behind a block and what the next one reads of it: `add_parts` and `prepare_vectors` in one launch,
// with the same bits. Blocks tell each other what they know of their columns through memory, which takes less
// than a second launch; all of them live at once.

/// Leaves what is known of a block's tiles for the other blocks, and for whoever reads the stream later.
DEVICE void leave_tiles(const dv_renew_arguments &a, const Moments &moments, int begin, int tiles) {
  int i = threadIdx.x, place = begin / add_width * 2 + i;
  if (i >= 2 * (a.columns / add_width) || place >= 2 * tiles) return;
  float value = moments.number(i / 2, i % 2);
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
DEVICE void prepare_columns(const dv_prepare_job &job, const float *tiles, const float *values,
                            const float *gains, const float *offsets, int begin, int columns) {
  float mean = 0, scale = 1;
  if (job.norm.kind) moments_of_tiles(job, tiles, add_width, &mean, &scale);
  for (int own = 4 * (threadIdx.x % 32); own < columns; own += 128) {
    int i = begin + own;
    if (i >= arranged_width(job.width)) break;
    store_prepared(job, 0, i, *(const Quad *)(values + own), gains ? gains + own : 0,
                   offsets ? offsets + own : 0, mean, scale);
  }
}

/// Grid: blocks of the sum, then one for each list. Shared: 16 shares of the parts, the columns' values, gains
/// and offsets of every job that has them.
KERNEL(add_threads, 2) renew_stream(const GRID_CONSTANT dv_renew_arguments a) {
  DYNAMIC(float, shares);
  SHARED Moments moments;
  SHARED float known[2 * dv_renew_tiles];
  if ((int)blockIdx.x >= a.blocks) return make_list(a.sum.lists[blockIdx.x - a.blocks]);
  int begin = blockIdx.x * a.columns, tiles = (a.sum.width + add_width - 1) / add_width;
  int warp = threadIdx.x / 32;
  float *values = shares + 16 * a.columns;
  Columns staged_columns = {0, least(a.columns, arranged_width(a.sum.width) - begin)};
  Staged staged = {values + a.columns, a.columns};
  const float *gains = 0, *offsets = 0;
  for (int j = 0; j < a.job_count; j++) {
    const dv_norm &norm = a.jobs[j].norm;
    float *gain = staged.take(norm.weight), *offset = staged.take(norm.bias);
    if (gain) stage_vector(gain, at<float>(norm.weight) + begin, a.sum.width - begin, staged_columns);
    if (offset) stage_vector(offset, at<float>(norm.bias) + begin, a.sum.width - begin, staged_columns);
    if (j == warp) (gains = gain, offsets = offset);
  }
  OwnColumns own = {a.sum, 0, begin, a.columns};
  own.ask_bias();
  await_inputs();
  own.ask_stream();
  own.add_shares(shares);
  await_copies();
  __syncthreads();
  own.add(shares, values, moments);
  leave_tiles(a, moments, begin, tiles);
  // Where blocks run one after the other, a thread must not come before the one that leaves its number.
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * tiles; i += blockDim.x)
    known[i] = await_marked(at<u64>(a.marks) + i);
  __syncthreads();
  if (warp < a.job_count) prepare_columns(a.jobs[warp], known, values, gains, offsets, begin, a.columns);
}
