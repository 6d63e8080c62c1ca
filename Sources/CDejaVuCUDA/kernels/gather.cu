// Sums of chosen rows: the MLP of one token, and output rows of attention.

/// Sums over the slice's items, eight warps taking turns; the tile's columns in out.
///
/// `Item` says what row an item has and what it is multiplied with. The order of a sum depends on
/// the number of items alone, so that the same set always gives the same bits.
template <class T, class Item>
DEVICE void gather_sum(const Item &item, int begin, int end, bool skips, int padded, float *out) {
  const int count = Pack<T>::count, step = 32 * count;
  SHARED float sums[8][64 * 8];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int column = blockIdx.x * 2 * step + lane * count;
  bool has[2] = {column < padded, column + step < padded};
  float acc[2][count];
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int k = 0; k < count; k++) acc[h][k] = 0;
  for (int i = begin + warp; i < end; i += 32) {
    float values[4];
    Quad quads[4][2];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int n = i + 8 * j;
      values[j] = n < end ? item.value(n) : 0.0f;
      bool reads = n < end && !(skips && values[j] == 0);
      const T *row = reads ? item.row(n) + column : 0;
#pragma unroll
      for (int h = 0; h < 2; h++) {
        if (reads && has[h]) quads[j][h] = stream(row + h * step);
        else quads[j][h].w[0] = quads[j][h].w[1] = quads[j][h].w[2] = quads[j][h].w[3] = 0;
      }
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float w[count];
        unpack(quads[j][h], w, T());
#pragma unroll
        for (int k = 0; k < count; k++) acc[h][k] = fmaf(values[j], w[k], acc[h][k]);
      }
  }
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int k = 0; k < count; k++) sums[warp][h * step + lane * count + k] = acc[h][k];
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * step; i += blockDim.x) {
    int at_column = blockIdx.x * 2 * step + i;
    if (at_column >= padded) continue;
    float sum = 0;
    for (int w = 0; w < 8; w++) sum += sums[w][i];
    out[at_column] = sum;
  }
}

DEVICE int slice_start(int count, int slice) {
  return (int)((i64)count * slice / (int)gridDim.y);
}

// Attention's output -------------------------------------------------------------------------------

template <class T> struct OutputItem {
  const dv_output_arguments &a;
  const float *context;
  int begin;
  DEVICE_MEMBER float value(int n) const { return context[n - begin]; }
  DEVICE_MEMBER const T *row(int n) const {
    int lanes = a.heads_per_group * a.head;
    i64 row = (i64)chosen_row(a.groups, 0, n / lanes) * lanes + n % lanes;
    return at<T>(a.output) + row * a.row_stride;
  }
};

/// Grid: tiles of columns, slices of the lanes.
template <class T> DEVICE void sum_heads(const dv_output_arguments &a) {
  DYNAMIC(float, context);
  int lanes = a.heads_per_group * a.head, count = chosen_count(a.groups, 0) * lanes;
  int begin = slice_start(count, blockIdx.y), end = slice_start(count, blockIdx.y + 1);
  for (int n = begin + threadIdx.x; n < end; n += blockDim.x) {
    int head = chosen_row(a.groups, 0, n / lanes) * a.heads_per_group + n % lanes / a.head;
    const float *parts = at<float>(a.parts) + (i64)head * a.splits * (a.padded_head + 2);
    context[n - begin] = merged(parts, a.splits, a.padded_head, n % a.head);
  }
  __syncthreads();
  OutputItem<T> item = {a, context, begin};
  gather_sum<T>(item, begin, end, false, a.padded_width,
                at<float>(a.out) + (i64)blockIdx.y * a.out_stride);
}
FOR_WEIGHTS(256, 3, sum_heads, dv_output_arguments)

// The MLP ------------------------------------------------------------------------------------------

template <class T> DEVICE void raise_neurons(const dv_up_arguments &a) {
  DYNAMIC(float, x);
  SHARED float scratch[32];
  SHARED int nonzero;
  if (threadIdx.x == 0) nonzero = 0;
  load_vector<Pack<T>::count>(x, at<float>(a.x), a.width, a.norm, scratch);
  int count = chosen_count(a.neurons, 0), lane = threadIdx.x % 32;
  int warps = gridDim.x * (blockDim.x / 32), active = 0;
  bool gated = a.rows_per_neuron == 3;
  for (int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; i < count; i += warps) {
    int neuron = chosen_row(a.neurons, 0, i);
    const T *rows = at<T>(a.bundle) + (i64)neuron * a.rows_per_neuron * a.row_stride;
    float first = warp_sum(lane_dot(rows, x, a.padded_width, lane)), value;
    if (gated) {
      float up = warp_sum(lane_dot(rows + a.row_stride, x, a.padded_width, lane));
      if (a.up_bias) up += at<float>(a.up_bias)[neuron];
      if (a.gate_bias) first += at<float>(a.gate_bias)[neuron];
      value = activated(first, a.activation) * up;
    } else {
      if (a.up_bias) first += at<float>(a.up_bias)[neuron];
      value = activated(first, a.activation);
    }
    if (lane != 0) continue;
    at<float>(a.values)[i] = value;
    if (a.products) at<float>(a.products)[i] = first;
    active += value != 0;
  }
  if (lane == 0) atomicAdd(&nonzero, active);
  __syncthreads();
  if (threadIdx.x == 0) {
    atomicAdd(at<int>(a.counters) + 1, nonzero);
    if (blockIdx.x == 0) atomicAdd(at<int>(a.counters), count);
  }
}
FOR_WEIGHTS(512, 2, raise_neurons, dv_up_arguments)

template <class T> struct NeuronItem {
  const dv_down_arguments &a;
  DEVICE_MEMBER float value(int n) const {
    return at<float>(a.values)[a.values_by_row ? chosen_row(a.neurons, 0, n) : n];
  }
  DEVICE_MEMBER const T *row(int n) const {
    i64 row = (i64)(chosen_row(a.neurons, 0, n) + 1) * a.rows_per_neuron - 1;
    return at<T>(a.bundle) + row * a.row_stride;
  }
};

/// Grid: tiles of columns, slices of the neurons.
template <class T> DEVICE void sum_neurons(const dv_down_arguments &a) {
  int count = chosen_count(a.neurons, 0);
  NeuronItem<T> item = {a};
  gather_sum<T>(item, slice_start(count, blockIdx.y), slice_start(count, blockIdx.y + 1),
                a.skips != 0, a.padded_width,
                at<float>(a.out) + (i64)blockIdx.y * a.out_stride);
}
FOR_WEIGHTS(256, 3, sum_neurons, dv_down_arguments)

// What rows are ranked by --------------------------------------------------------------------------

/// A warp to a neuron; grid: blocks, tokens.
template <class T> DEVICE void size_neurons(const dv_neuron_size_arguments &a) {
  const int count = Pack<T>::count;
  int lane = threadIdx.x % 32, neuron = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (neuron >= a.neurons) return;
  i64 row = (i64)(neuron + 1) * a.rows_per_neuron - 1;
  const T *down = at<T>(a.bundle) + row * a.row_stride;
  float squares = 0;
  for (int i = lane * count; i < a.padded_width; i += 32 * count) {
    float w[count];
    unpack(stream(down + i), w, T());
#pragma unroll
    for (int k = 0; k < count; k++) squares = fmaf(w[k], w[k], squares);
  }
  squares = warp_sum(squares);
  float value = at<float>(a.values)[(i64)blockIdx.y * a.value_stride + neuron];
  if (lane == 0)
    at<float>(a.sizes)[(i64)blockIdx.y * a.size_stride + neuron] = fabsf(value) * sqrtf(squares);
}
FOR_WEIGHTS(256, 1, size_neurons, dv_neuron_size_arguments)

/// A block to a group; grid: groups, tokens.
template <class T> DEVICE void size_groups(const dv_group_size_arguments &a) {
  SHARED float scratch[32];
  int group = blockIdx.x;
  const float *context = at<float>(a.context) + (i64)blockIdx.y * a.context_stride + group * a.lanes;
  const T *output = at<T>(a.output) + (i64)group * a.lanes * a.row_stride;
  float squares = 0;
  for (int column = threadIdx.x; column < a.width; column += blockDim.x) {
    float sum = 0;
    for (int lane = 0; lane < a.lanes; lane++)
      sum = fmaf(context[lane], widen(output[(i64)lane * a.row_stride + column]), sum);
    squares = fmaf(sum, sum, squares);
  }
  squares = block_sum(squares, scratch);
  if (threadIdx.x == 0)
    at<float>(a.sizes)[(i64)blockIdx.y * a.size_stride + group] = sqrtf(squares);
}
FOR_WEIGHTS(256, 1, size_groups, dv_group_size_arguments)
