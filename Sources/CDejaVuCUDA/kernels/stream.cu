// The residual stream: embeddings, norms and sums.

/// Grid: tokens, shares of the columns.
template <class T> DEVICE void embed_rows(const dv_embed_arguments &a) {
  await_inputs();
  int t = blockIdx.x;
  i64 row = at<int>(a.ids)[t] + a.offset;
  const T *from = at<T>(a.table) + row * a.table_stride;
  float *to = at<float>(a.out) + (i64)t * a.out_stride;
  int step = gridDim.y * blockDim.x;
  for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < a.width; i += step)
    to[i] = (a.adds ? to[i] : 0.0f) + element(from, i, a.width);
}
FOR_ALL_WEIGHTS(256, 1, embed_rows, dv_embed_arguments)

/// Four neighbours of a row from column i on, normed; in 16 bits too where that is asked for.
DEVICE void store_normed(const dv_normalize_arguments &a, int i, float (&x)[4], float mean, float scale) {
  float weight[4] = {1, 1, 1, 1}, bias[4] = {0, 0, 0, 0};
  if (a.norm.weight) unpack(read_piece(at<float>(a.norm.weight), i, a.width), weight, 0.0f);
  if (a.norm.bias) unpack(read_piece(at<float>(a.norm.bias), i, a.width), bias, 0.0f);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    if (a.norm.kind != 0) x[k] = (x[k] - mean) * scale;
    if (a.norm.weight) x[k] *= weight[k];
    if (a.norm.bias) x[k] += bias[k];
  }
  store_piece(at<float>(a.out) + (i64)blockIdx.x * a.stride, i, a.width, x);
  if (!a.rounded) return;
  // Rows of 16 bits have room behind their width.
  Halves *to = (Halves *)(at<u16>(a.rounded) + (i64)blockIdx.x * a.rounded_stride + i);
  if (a.is_brain) *to = {{pair(x[0], x[1], bf16()), pair(x[2], x[3], bf16())}};
  else *to = {{pair(x[0], x[1], f16()), pair(x[2], x[3], f16())}};
}

/// A block to a token.
KERNEL(256, 1) normalize_rows(dv_normalize_arguments a) {
  SHARED float scratch[32];
  await_inputs();
  const float *row = at<float>(a.x) + (i64)blockIdx.x * a.stride;
  const int step = 4 * blockDim.x;
  float sum = 0, squares = 0, x[4];
#pragma unroll 4
  for (int i = 4 * threadIdx.x; i < a.width; i += step) {
    unpack(read_piece(row, i, a.width), x, 0.0f);
    sum += (x[0] + x[1]) + (x[2] + x[3]);
  }
  float mean = a.norm.kind == 1 ? block_sum(sum, scratch) / a.width : 0.0f;
#pragma unroll 4
  for (int i = 4 * threadIdx.x; i < a.width; i += step) {
    unpack(read_piece(row, i, a.width), x, 0.0f);
#pragma unroll
    for (int k = 0; k < 4; k++)
      if (i + k < a.width) squares = fmaf(x[k] - mean, x[k] - mean, squares);
  }
  float scale = 1.0f / sqrtf(block_sum(squares, scratch) / a.width + a.norm.epsilon);
#pragma unroll 4
  for (int i = 4 * threadIdx.x; i < a.width; i += step) {
    unpack(read_piece(row, i, a.width), x, 0.0f);
    store_normed(a, i, x, mean, scale);
  }
}

/// The same sum as `add_parts`, of one part for each of many tokens. Four neighbours to a thread. Grid: 1024
/// columns to a block, tokens.
KERNEL(256, 1) add_rows(const GRID_CONSTANT dv_add_arguments a) {
  int i = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
  float *x = at<float>(a.x) + (i64)blockIdx.y * a.stride;
  const float *part = at<float>(a.parts) + (i64)blockIdx.y * a.part_stride, *bias = at<float>(a.bias);
  float sums[4], parts[4];
  if (i >= a.width) return;
  unpack(read_piece(x, i, a.width), sums, 0.0f);
  unpack(read_piece(part, i, a.width), parts, 0.0f);
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (i + k < a.width) sums[k] = sums[k] + (bias ? bias[i + k] : 0.0f) + parts[k];
  store_piece(x, i, a.width, sums);
}

// A stream's sum -----------------------------------------------------------------------------------

/// Columns of a tile, whose sums norms want; threads of a block that adds, and the columns that it may have.
enum { add_width = 128, add_threads = 512, add_columns_most = 1024 };

/// Sums and squares of every 32 of a block's columns.
struct Moments {
  float sums[add_columns_most / 32], squares[add_columns_most / 32];

  /// One of a tile's two numbers, of those of its four warps.
  DEVICE_MEMBER float number(int tile, int what) const {
    return tile_sum(what == 0 ? sums : squares, tile);
  }
  DEVICE_MEMBER static float tile_sum(const float *of, int tile) {
    const float *own = of + 4 * tile;
    return (own[0] + own[2]) + (own[1] + own[3]);
  }
};

/// Columns of one token's stream that a block adds up, whole tiles, of which a thread has up to two.
struct OwnColumns {
  const dv_add_arguments &a;
  int token, begin, columns;
  float bias[2], before[2];

  DEVICE_MEMBER bool owns(int k) const { return place(k) < columns && begin + place(k) < a.width; }
  DEVICE_MEMBER int place(int k) const { return (int)threadIdx.x + k * add_threads; }
  DEVICE_MEMBER float *stream() const { return at<float>(a.x) + (i64)token * a.stride + begin; }

  /// Asks for what no launch writes.
  DEVICE_MEMBER void ask_bias() {
#pragma unroll
    for (int k = 0; k < 2; k++) bias[k] = owns(k) && a.bias ? at<float>(a.bias)[begin + place(k)] : 0.0f;
  }
  /// Asks for what the columns were: before the parts, and needed behind them.
  DEVICE_MEMBER void ask_stream() {
#pragma unroll
    for (int k = 0; k < 2; k++) before[k] = owns(k) ? stream()[place(k)] : 0.0f;
  }
  /// 16 shares of the parts.
  DEVICE_MEMBER void add_shares(float *shares) const {
    int fours = columns / 4;
    for (int u = threadIdx.x; u < 16 * fours; u += blockDim.x) {
      int four = u % fours, share = u / fours, column = begin + 4 * four;
      float sum[4] = {0, 0, 0, 0};
      const float *parts = at<float>(a.parts) + (i64)token * a.part_stride + column;
#pragma unroll 4
      for (int s = share; s < a.slices && column < a.width; s += 16) {
        Quad quad = *(const Quad *)(parts + (i64)s * a.part_stride);
#pragma unroll
        for (int k = 0; k < 4; k++) sum[k] += __uint_as_float(quad.w[k]);
      }
      store_piece(shares, share * columns + 4 * four, 16 * columns, sum);
    }
  }
  /// Adds the shares in their order: the new columns, in memory and in `values`, and what is known of them.
  DEVICE_MEMBER void add(const float *shares, float *values, Moments &moments) const {
#pragma unroll
    for (int k = 0; k < 2; k++) {
      int own = place(k);
      if (own >= columns) break;
      float total = 0, value = 0;
#pragma unroll
      for (int s = 0; s < 16; s++) total += shares[s * columns + own];
      if (owns(k)) {
        value = before[k] + bias[k] + total;
        stream()[own] = value;
      }
      values[own] = value;
      float sum = warp_sum(value);
      if (own % 32 == 0) moments.sums[own / 32] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 2; k++) {
      int own = place(k), tile = own / add_width, many = a.width - begin - tile * add_width;
      if (own >= columns) break;
      float apart = values[own] - Moments::tile_sum(moments.sums, tile) / least(add_width, most(many, 1));
      float squares = warp_sum(owns(k) ? apart * apart : 0);
      if (own % 32 == 0) moments.squares[own / 32] = squares;
    }
    __syncthreads();
  }
};

/// What a block does that makes a list beside a sum.
DEVICE void make_list(const dv_list_job &job) {
  await_inputs();
  list_bits(at<int>(job.bits_above), job.rows, job.count, job.list);
}

/// Leaves the sums of each tile, as norms want them. Grid: tiles, then a block for each list; tokens.
KERNEL(add_threads, 1) add_parts(const GRID_CONSTANT dv_add_arguments a) {
  SHARED Quad shares[16 * add_width / 4];
  SHARED float values[add_width];
  SHARED Moments moments;
  int tiles = (a.width + add_width - 1) / add_width;
  if ((int)blockIdx.x >= tiles) return make_list(a.lists[blockIdx.x - tiles]);
  OwnColumns own = {a, (int)blockIdx.y, (int)blockIdx.x * add_width, add_width};
  own.ask_bias();
  await_inputs();
  own.ask_stream();
  own.add_shares((float *)shares);
  __syncthreads();
  own.add((float *)shares, values, moments);
  if (a.tiles && threadIdx.x < 2)
    at<float>(a.tiles)[2 * blockIdx.x + threadIdx.x] = moments.number(0, threadIdx.x);
}

/// y[r] = x · matrix[r], a warp to a row. Shared: the vector.
template <class T> DEVICE void project_rows(const dv_rows_arguments &a) {
  DYNAMIC(float, x);
  int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);
  int row = threadIdx.x / 32 * gridDim.x + blockIdx.x;
  const T *matrix = at<T>(a.matrix);
  Pieces pieces;
  if (row < a.rows) ask_row(pieces, matrix + (i64)row * a.row_stride, 0, a.padded_width, lane);
  await_inputs();
  copy_pieces(x, a.x, Vector<T>::pieces(a.width));
  await_copies();
  __syncthreads();
  for (; row < a.rows; row += warps) {
    const T *own = matrix + (i64)row * a.row_stride;
    float y = row_dot(pieces, own, x, a.padded_width, lane);
    if (row + warps < a.rows)
      ask_row(pieces, own + (i64)warps * a.row_stride, 0, a.padded_width, lane);
    y = warp_sum(y);
    if (lane != 0) continue;
    at<float>(a.y)[row] = y;
    if (a.flag && !(fabsf(y) <= 3.4e38f)) *at<int>(a.flag) = 1;
  }
}
FOR_WEIGHTS(512, 2, project_rows, dv_rows_arguments)

KERNEL(256, 1) clear_words(dv_clear_arguments a) {
  await_inputs();
  int first = blockIdx.x * blockDim.x + threadIdx.x, step = gridDim.x * blockDim.x;
  for (int i = first; i < a.count; i += step) at<int>(a.words)[i] = 0;
  for (int i = first; i < a.entries; i += step) at<int>(a.saved)[i] = at<int>(a.settled)[i];
  for (int i = first; i < a.mark_count; i += step) at<int>(a.marks)[i] = 0;
}

KERNEL(256, 1) assign_list(dv_assign_arguments a) {
  await_inputs();
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
