// The residual stream: embeddings, norms and sums.

template <class T> DEVICE void embed_rows(const dv_embed_arguments &a) {
  int t = blockIdx.x;
  i64 row = at<int>(a.ids)[t] + a.offset;
  const T *from = at<T>(a.table) + row * a.table_stride;
  float *to = at<float>(a.out) + (i64)t * a.out_stride;
  for (int i = threadIdx.x; i < a.width; i += blockDim.x)
    to[i] = a.adds ? to[i] + widen(from[i]) : widen(from[i]);
}
FOR_WEIGHTS(256, 1, embed_rows, dv_embed_arguments)

KERNEL(256, 1) normalize_rows(dv_normalize_arguments a) {
  SHARED float scratch[32];
  const float *x = at<float>(a.x) + (i64)blockIdx.x * a.stride;
  float *out = at<float>(a.out) + (i64)blockIdx.x * a.stride;
  float sum = 0, squares = 0;
  for (int i = threadIdx.x; i < a.width; i += blockDim.x) sum += x[i];
  float mean = a.norm.kind == 1 ? block_sum(sum, scratch) / a.width : 0.0f;
  for (int i = threadIdx.x; i < a.width; i += blockDim.x)
    squares = fmaf(x[i] - mean, x[i] - mean, squares);
  float scale = 1.0f / sqrtf(block_sum(squares, scratch) / a.width + a.norm.epsilon);
  const float *weight = at<float>(a.norm.weight), *bias = at<float>(a.norm.bias);
  for (int i = threadIdx.x; i < a.width; i += blockDim.x) {
    float value = a.norm.kind == 0 ? x[i] : (x[i] - mean) * scale;
    if (weight) value *= weight[i];
    if (bias) value += bias[i];
    out[i] = value;
  }
}

/// 32 columns by 8 shares of the parts, which are summed in the order of the shares.
KERNEL(256, 1) add_parts(dv_add_arguments a) {
  SHARED float sums[8][32];
  int lane = threadIdx.x % 32, share = threadIdx.x / 32, column = blockIdx.x * 32 + lane;
  i64 token = blockIdx.y;
  float sum = 0;
  if (column < a.width) {
    const float *parts = at<float>(a.parts) + token * a.part_stride + column;
    for (int s = share; s < a.slices; s += 8) sum += parts[(i64)s * a.part_stride];
  }
  sums[share][lane] = sum;
  __syncthreads();
  if (share != 0 || column >= a.width) return;
  float total = 0;
  for (int s = 0; s < 8; s++) total += sums[s][lane];
  float *x = at<float>(a.x) + token * a.stride + column;
  *x = *x + total + (a.bias ? at<float>(a.bias)[column] : 0.0f);
}

/// y[r] = norm(x) · matrix[r], a warp to a row.
template <class T> DEVICE void project_rows(const dv_rows_arguments &a) {
  DYNAMIC(float, x);
  SHARED float scratch[32];
  load_vector<Pack<T>::count>(x, at<float>(a.x), a.width, a.norm, scratch);
  int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);
  for (int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; row < a.rows; row += warps) {
    float y = warp_sum(lane_dot(at<T>(a.matrix) + (i64)row * a.row_stride, x, a.padded_width, lane));
    if (lane != 0) continue;
    at<float>(a.y)[row] = y;
    if (a.flag && !(fabsf(y) <= 3.4e38f)) *at<int>(a.flag) = 1;
  }
}
FOR_WEIGHTS(512, 2, project_rows, dv_rows_arguments)

KERNEL(256, 1) clear_words(dv_clear_arguments a) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < a.count; i += gridDim.x * blockDim.x)
    at<int>(a.words)[i] = 0;
}

KERNEL(256, 1) assign_list(dv_assign_arguments a) {
  const int *source = at<int>(a.source);
  int count = source[0], token = blockIdx.x;
  if (threadIdx.x == 0) at<int>(a.counts)[token] = count;
  for (int i = threadIdx.x; i < count; i += blockDim.x)
    at<int>(a.lists)[(i64)token * a.list_stride + i] = source[1 + i];
}

KERNEL(512, 2) read_memory(dv_read_arguments a) {
  const Quad *from = at<Quad>(a.from);
  u64 step = (u64)gridDim.x * blockDim.x;
  u32 sum = 0;
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  for (; i + 3 * step < a.pieces; i += 4 * step) {
    Quad quads[4];
#pragma unroll
    for (int j = 0; j < 4; j++) quads[j] = stream(from + i + j * step);
#pragma unroll
    for (int j = 0; j < 4; j++) sum ^= quads[j].w[0] ^ quads[j].w[1] ^ quads[j].w[2] ^ quads[j].w[3];
  }
  // Never true of weights, and the compiler cannot know it.
  if (sum == 0x9e3779b9u) *at<u32>(a.out) = sum;
}

// Random weights -----------------------------------------------------------------------------------

DEVICE u64 mixed(u64 seed, u64 counter) {
  u64 z = seed + counter * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

template <class T> DEVICE void fill_rows(const dv_fill_arguments &a) {
  u64 count = a.rows * (u64)a.stride;
  u64 step = (u64)gridDim.x * blockDim.x;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    u64 row = i / a.stride, column = i % a.stride;
    if (column >= (u64)a.columns) continue;
    u64 index = row * a.columns + column;
    u32 draw = (u32)(mixed(a.seed, index >> 2) >> (16 * (index & 3))) & 0xffff;
    float value = a.constant;
    if (a.spread != 0) value += a.spread * ((draw + 0.5f) * (1.0f / 65536) - 0.5f);
    narrow(value, at<T>(a.to) + i);
  }
}
FOR_WEIGHTS(256, 1, fill_rows, dv_fill_arguments)
