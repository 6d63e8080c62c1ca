// Products of single rows of codes: the first products of an MLP, and logits.
#ifdef CODE_GROUP

/// Steps that a lane has on their way of four rows that a warp multiplies; a step is four chunks of each.
enum { row_steps = CODE_ZEROS ? 2 : CODE_GROUP == 32 ? 4 : 8 };

/// Lane l has of rows l / 16 and l / 16 + 2 unit l % 4 of chunk l / 4 % 4 of every step.
template <class T> struct FourRows {
  const T *rows[2];
  Quad quads[row_steps][2];
  ChunkScales<T> scales[row_steps][2];
};

/// Asks for the next steps of four rows; zeros and scales of zero behind their end.
template <class T> DEVICE void ask_rows(FourRows<T> &four, int from, int padded, int lane) {
  const int bits = Coding<T>::bits, groups = Coding<T>::groups;
#pragma unroll
  for (int s = 0; s < row_steps; s++) {
    int chunk = from + 4 * s + lane / 4 % 4;
    bool is_there = chunk < Chunk<T>::count(padded);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      Quad &quad = four.quads[s][r];
      ChunkScales<T> &scales = four.scales[s][r];
      quad.w[0] = quad.w[1] = quad.w[2] = quad.w[3] = 0;
#pragma unroll
      for (int k = 0; k < Chunk<T>::words; k++) scales.words[k] = 0;
#pragma unroll
      for (int g = 0; g < groups && CODE_ZEROS; g++) scales.offsets[g] = 0;
      if (!is_there) continue;
      quad = stream(four.rows[r] + 64 * chunk + lane % 4 * 16);
      int group = chunk * Chunk<T>::columns / CODE_GROUP;
      const T *own = four.rows[r] + code_bytes(padded, bits) + 2 * group;
      if (groups == 1) scales.words[0] = stream_half((const f16 *)own).bits;
#pragma unroll
      for (int k = 0; k < groups / 2; k++) scales.words[k] = stream_word(own + 4 * k);
#pragma unroll
      for (int g = 0; g < groups && CODE_ZEROS; g++)
        scales.offsets[g] = zero_offset(four.rows[r], padded, group + g);
    }
  }
}

/// Products of four rows, whose first steps were asked for, with the vector: every lane has that of row
/// l % 4.
template <class T> DEVICE float row_dots(FourRows<T> &four, const void *x, int padded, int lane) {
  int chunks = Chunk<T>::count(padded);
  float sums[2] = {0, 0};
  for (int from = 0;;) {
#pragma unroll
    for (int s = 0; s < row_steps; s++) {
      int first = from + 4 * s;
      if (first >= chunks) break;
      // Columns 2v and 2v + 1 are the vector's at the v-th chunk of the step.
      UnitVector<T> own;
      read_unit(own, x, least(first + lane / 8, chunks - 1), lane);
      float step = unit_step<T>(x, padded, least(first + lane / 4 % 4, chunks - 1)), products[2] = {0, 0};
      meet_chunks(four.quads[s], four.scales[s], own, products);
#pragma unroll
      for (int r = 0; r < 2; r++) sums[r] = fmaf(step, products[r], sums[r]);
    }
    from += 4 * row_steps;
    if (from >= chunks) break;
    ask_rows(four, from, padded, lane);
  }
  // A lane's sums are its chunks' with the vector at chunk l % 4: right where that is the chunk's own.
  bool is_own = lane % 4 == lane / 4 % 4;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    sums[r] = is_own ? sums[r] : 0.0f;
#pragma unroll
    for (int step = 8; step > 0; step >>= 1) sums[r] += __shfl_xor_sync(all_lanes, sums[r], step);
    sums[r] = __shfl_sync(all_lanes, sums[r], lane % 2 * 16);
  }
  return (lane / 2 % 2 ? sums[1] : sums[0]) * code_unit<T>();
}

/// y[r] = x · matrix[r], a warp to four rows. Shared: the vector.
template <class T> DEVICE void project_coded_rows(const dv_rows_arguments &a) {
  DYNAMIC(float, x);
  int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);
  int row = 4 * (threadIdx.x / 32 * gridDim.x + blockIdx.x);
  FourRows<T> four;
  auto ask = [&] {
    if (row >= a.rows) return;
#pragma unroll
    for (int r = 0; r < 2; r++)
      four.rows[r] = at<T>(a.matrix) + (i64)least(row + lane / 16 + 2 * r, a.rows - 1) * a.row_stride;
    ask_rows(four, 0, a.padded_width, lane);
  };
  ask();
  await_inputs();
  copy_pieces(x, a.x, Vector<T>::pieces(a.width));
  await_copies();
  __syncthreads();
  while (row < a.rows) {
    float y = row_dots(four, x, a.padded_width, lane);
    int own = row + lane;
    row += 4 * warps;
    ask();
    if (lane >= 4 || own >= a.rows) continue;
    at<float>(a.y)[own] = y;
    if (a.flag && !(fabsf(y) <= 3.4e38f)) *at<int>(a.flag) = 1;
  }
}
KERNEL(dv_row_threads, 1)
project_rows_i4(const GRID_CONSTANT dv_rows_arguments a) { project_coded_rows<i4>(a); }
KERNEL(dv_row_threads, 1)
project_rows_i8(const GRID_CONSTANT dv_rows_arguments a) { project_coded_rows<i8>(a); }

/// Four entries that a warp raises: a lane's neuron is that of entry l % 4.
template <class T> struct FourEntries : FourRows<T> {
  int neuron;
  float up_bias, gate_bias;
};

/// Asks for the first rows of entries from `first` on, the last one again behind it, and for their biases.
template <class T>
DEVICE void ask_entries(const dv_up_arguments &a, FourEntries<T> &four, int neuron, int first, int count,
                        int lane) {
  if (first >= count) return;
  four.neuron = __shfl_sync(all_lanes, neuron, least(lane % 4, count - 1 - first));
#pragma unroll
  for (int r = 0; r < 2; r++)
    four.rows[r] = first_row<T>(a, __shfl_sync(all_lanes, four.neuron, lane / 16 + 2 * r));
  ask_rows(four, 0, a.padded_width, lane);
  four.up_bias = a.up_bias ? at<float>(a.up_bias)[four.neuron] : 0.0f;
  four.gate_bias = a.gate_bias ? at<float>(a.gate_bias)[four.neuron] : 0.0f;
}

/// Asks for what is left of a warp's first entries' rows, so that a short launch has all of them on their
/// way at once.
template <class T>
DEVICE void fetch_entries(const dv_up_arguments &a, const FourEntries<T> &four, int many, int lane) {
  const int asked = 64 * 4 * row_steps;
  int bytes = (a.rows_per_neuron - 1) * a.row_stride - asked;
  if (lane < least(many, 4) && bytes > 0) fetch_pieces(first_row<T>(a, four.neuron) + asked, bytes);
}

/// A lane's entry's value.
template <class T>
DEVICE float raise_entries(const dv_up_arguments &a, FourEntries<T> &four, const void *x, int lane,
                           float &product) {
  bool has_gate = a.rows_per_neuron == 3;
  product = row_dots(four, x, a.padded_width, lane) + (has_gate ? four.gate_bias : four.up_bias);
  float value = activated(product, a.activation);
  if (!has_gate) return value;
#pragma unroll
  for (int r = 0; r < 2; r++) four.rows[r] += a.row_stride;
  ask_rows(four, 0, a.padded_width, lane);
  return value * (row_dots(four, x, a.padded_width, lane) + four.up_bias);
}

/// Shared: the vector, the block's entries.
template <class T> DEVICE void raise_coded_neurons(const dv_up_arguments &a) {
  DYNAMIC(float, x);
  SHARED int nonzero;
  int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32), active = 0;
  // Neighbours go to different blocks, so that few entries still use the whole card.
  int i = 4 * (threadIdx.x / 32 * gridDim.x + blockIdx.x);
  Entries<4> entries(a, (int *)x + 4 * Vector<T>::pieces(a.width));
  FourEntries<T> four;
  if (threadIdx.x == 0) nonzero = 0;
  if (!entries.early) await_inputs();
  if (!entries.early) copy_pieces(x, a.x, Vector<T>::pieces(a.width));
  entries.find();
  // First entries come beside their number.
  int neuron = entries.number(i + lane % 4);
  entries.read_count();
  int count = entries.count;
  ask_entries(a, four, neuron, i, count, lane);
  if (a.bits) fetch_entries(a, four, count - i, lane);
  if (entries.early) await_inputs();
  if (entries.early) copy_pieces(x, a.x, Vector<T>::pieces(a.width));
  await_copies();
  __syncthreads();
  for (; i < count; i += 4 * warps) {
    neuron = entries.number(i + 4 * warps + lane % 4);
    float product, value = raise_entries(a, four, x, lane, product);
    if (lane < 4 && i + lane < count) {
      at<float>(a.values)[i + lane] = value;
      if (a.products) at<float>(a.products)[i + lane] = product;
      active += value != 0;
    }
    ask_entries(a, four, neuron, i + 4 * warps, count, lane);
  }
  if (active) atomicAdd(&nonzero, active);
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (nonzero) atomicAdd(at<int>(a.counters) + 1, nonzero);
  if (blockIdx.x == 0) atomicAdd(at<int>(a.counters), count);
}
KERNEL(dv_row_threads, 1)
raise_neurons_i4(const GRID_CONSTANT dv_up_arguments a) { raise_coded_neurons<i4>(a); }
KERNEL(dv_row_threads, 1)
raise_neurons_i8(const GRID_CONSTANT dv_up_arguments a) { raise_coded_neurons<i8>(a); }
#endif
