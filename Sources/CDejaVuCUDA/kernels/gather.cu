// Sums of chosen rows: the MLP of one token, and output rows of attention.

/// Rows of a slice that a warp has on their way: four, two pieces each.
struct Batch { Quad quads[4][2]; };

/// Asks for four rows of the slice from item `i` on, every eighth; zeros behind the end, and for
/// rows whose value is 0 where they are left out.
template <class T, bool checks, class Item>
DEVICE void ask_batch(Batch &batch, const Item &item, int i, int end, int column, int padded,
                      const float (&values)[4]) {
  const int step = 32 * Pack<T>::count;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    int n = i + 8 * j;
    bool reads = n < end && (!checks || values[j] != 0);
    const T *row = reads ? item.row(n) + column : 0;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      Quad &quad = batch.quads[j][h];
      if (reads && column + h * step < padded) quad = stream(row + h * step);
      else quad.w[0] = quad.w[1] = quad.w[2] = quad.w[3] = 0;
    }
  }
}

/// Adds eight warps' sums of a tile and leaves them in `out`.
template <class T>
DEVICE void leave_tile(const float (&acc)[2][Pack<T>::count], int padded, float *out) {
  const int count = Pack<T>::count, step = 32 * count;
  SHARED float sums[8][64 * 8];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int k = 0; k < count; k++) sums[warp][h * step + lane * count + k] = acc[h][k];
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * step; i += blockDim.x) {
    int column = blockIdx.x * 2 * step + i;
    if (column >= padded) continue;
    float sum = 0;
    for (int w = 0; w < 8; w++) sum += sums[w][i];
    out[column] = sum;
  }
}

DEVICE int slice_start(int count, int slice, int slices) {
  return (int)((i64)count * slice / slices);
}

/// Sums over a slice's items, eight warps taking turns; 256 threads to a block.
///
/// `Item` says what row an item has and what it is multiplied with; `open` needs its list, `fill` all
/// inputs. The order of a sum depends on
/// the number of items alone, so that the same set always gives the same bits. Where the items are
/// known `early`, the first rows are asked for before their values are there.
template <class T, class Item>
DEVICE void gather_sum(Item &item, bool early, bool asks_all, int padded, float *out) {
  const int count = Pack<T>::count;
  int warp = threadIdx.x / 32, column = blockIdx.x * 64 * count + threadIdx.x % 32 * count;
  Batch batch;
  float values[4];
  bool asked = early && asks_all;
  if (!asked) await_inputs();
  item.open();
  if (item.is_idle()) return;
  if (asked) {
    ask_batch<T, false>(batch, item, item.begin + warp, item.end, column, padded, values);
    await_inputs();
  }
  item.fill();
  float acc[2][count];
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int k = 0; k < count; k++) acc[h][k] = 0;
#pragma unroll 1
  for (int i = item.begin + warp; i < item.end; i += 32) {
    if (asks_all && !asked) ask_batch<T, false>(batch, item, i, item.end, column, padded, values);
#pragma unroll
    for (int j = 0; j < 4; j++) values[j] = i + 8 * j < item.end ? item.value(i + 8 * j) : 0.0f;
    if (!asks_all) ask_batch<T, true>(batch, item, i, item.end, column, padded, values);
    asked = false;
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float w[count];
        unpack(batch.quads[j][h], w, T());
#pragma unroll
        for (int k = 0; k < count; k++) acc[h][k] = fmaf(values[j], w[k], acc[h][k]);
      }
  }
  leave_tile<T>(acc, padded, out);
}

// Attention's output -------------------------------------------------------------------------------

/// The slice of a block behind those that ride: the last ones first, since they may have nothing to do.
DEVICE int output_slice(const dv_output_arguments &a) { return (int)(gridDim.y - blockIdx.y) - 1; }

/// Slices are fewer where at most half of the groups are chosen, so that those of a sparse step live at once
/// with what rides beside them. Their number depends on the number of groups alone.
template <class T> struct OutputItem {
  const dv_output_arguments &a;
  int *groups;
  float *values;
  int begin, end, used;
  DEVICE_MEMBER void open() {
    int lanes = a.heads_per_group * a.context.head, slice = output_slice(a);
    int slices = (int)gridDim.y - a.rider_planes;
    // The whole list comes beside its count.
    for (int i = threadIdx.x; i < a.groups.all; i += blockDim.x) groups[i] = chosen_row(a.groups, 0, i);
    int chosen = read_known(a.groups, 0).count, count = chosen * lanes;
    used = a.few_slices && 2 * chosen <= a.groups.all ? a.few_slices : slices;
    begin = slice_start(count, slice, used);
    end = slice_start(count, slice + 1, used);
  }
  DEVICE_MEMBER bool is_idle() const { return output_slice(a) >= used; }
  /// Clears the sums of those slices of a tile that are idle in a block's place.
  DEVICE_MEMBER void clear_idle(int columns) const {
    int first = blockIdx.x * columns, last = least(first + columns, a.padded_width);
    for (int s = output_slice(a) + used; s < (int)gridDim.y - a.rider_planes && !is_idle(); s += used)
      for (int i = first + threadIdx.x; i < last; i += blockDim.x)
        at<float>(a.out)[(i64)s * a.out_stride + i] = 0;
  }
  DEVICE_MEMBER int lane(int n) const {
    int lanes = a.heads_per_group * a.context.head;
    return groups[n / lanes] * lanes + n % lanes;
  }
  /// The slice's part of the context.
  DEVICE_MEMBER void fill() {
    Share share = share_context(a.context);
    for (int n = begin + threadIdx.x; n < end; n += blockDim.x)
      values[n - begin] = merged_lane(a.context, share, lane(n));
    __syncthreads();
  }
  DEVICE_MEMBER float value(int n) const { return values[n - begin]; }
  DEVICE_MEMBER const T *row(int n) const { return at<T>(a.output) + (i64)lane(n) * a.row_stride; }
};

/// Scores a block's share of what rides with a sum, if it is a rider's. Riders come first, and stream their
/// rows beside what the sums wait for.
DEVICE bool rides(const dv_output_arguments &a) {
  if ((int)blockIdx.y >= a.rider_planes) return false;
  DYNAMIC(signed char, rounded);
  score_block(a.riders, blockIdx.y * gridDim.x + blockIdx.x, 0, rounded);
  return true;
}

/// Grid: tiles of columns, planes of riders and slices of the lanes. Shared: groups, then values of a slice's
/// lanes; or the riders'.
template <class T> DEVICE void sum_heads(const dv_output_arguments &a) {
  if (rides(a)) return;
  DYNAMIC(int, memory);
  OutputItem<T> item = {a, memory, (float *)(memory + a.groups.all + 1), 0, 0, 0};
  gather_sum<T>(item, !a.groups.count || a.groups.early, true, a.padded_width,
                at<float>(a.out) + (i64)output_slice(a) * a.out_stride);
  item.clear_idle(64 * Pack<T>::count);
}
FOR_WEIGHTS(256, 3, sum_heads, dv_output_arguments)

// The MLP ------------------------------------------------------------------------------------------

/// Rows of an entry: the up row, behind the gate's where there is one.
template <class T> DEVICE const T *first_row(const dv_up_arguments &a, int neuron) {
  return at<T>(a.bundle) + (i64)neuron * a.rows_per_neuron * a.row_stride;
}

/// An entry's value, by a warp that has asked for its first row; asks for the first row of `next`.
template <class T>
DEVICE float raise_entry(const dv_up_arguments &a, Pieces &pieces, const float *x, int neuron,
                         int next, int lane, float &product) {
  const T *rows = first_row<T>(a, neuron);
  // Asked for beside the row.
  float up_bias = a.up_bias ? at<float>(a.up_bias)[neuron] : 0.0f;
  float gate_bias = a.gate_bias ? at<float>(a.gate_bias)[neuron] : 0.0f;
  float first = row_dot(pieces, rows, x, a.padded_width, lane), up = 0;
  if (a.rows_per_neuron == 3) {
    ask_row(pieces, rows + a.row_stride, 0, a.padded_width, lane);
    up = row_dot(pieces, rows + a.row_stride, x, a.padded_width, lane);
  }
  if (next >= 0) ask_row(pieces, first_row<T>(a, next), 0, a.padded_width, lane);
  first = warp_sum(first);
  first += a.rows_per_neuron == 3 ? gate_bias : up_bias;
  product = first;
  float value = activated(first, a.activation);
  return a.rows_per_neuron == 3 ? value * (warp_sum(up) + up_bias) : value;
}

/// Keeps of every `gridDim.x · many` rows the block's own `many` neighbours.
template <int many> struct EntryTaker {
  int *own, turn, block, place;
  /// Few threads have any of the block's.
  DEVICE_MEMBER bool start(int next, int count) {
    turn = next / many / (int)gridDim.x;
    block = next / many % (int)gridDim.x;
    place = next % many;
    int apart = (int)blockIdx.x - block;
    return (apart < 0 ? apart + (int)gridDim.x : apart) * many - place < count;
  }
  DEVICE_MEMBER void take(int row) {
    if (block == (int)blockIdx.x) own[turn * many + place] = row;
    if (++place < many) return;
    place = 0;
    if (++block < (int)gridDim.x) return;
    block = 0;
    turn++;
  }
};

/// What a block raises: of every `gridDim.x · many` entries its own `many` neighbours, from a list, or from bits
/// before there is one.
template <int many> struct Entries {
  const dv_up_arguments &a;
  /// The block's own, where they come from bits.
  int *own;
  bool early;
  int count;

  DEVICE_MEMBER Entries(const dv_up_arguments &a, int *own)
      : a(a), own(own), early(a.bits || !a.neurons.count || a.neurons.early), count(0) {}

  /// Finds the block's entries among bits, if that is where they are; the block comes together. Where a warp
  /// has four entries threads are few, and each has four words at a time.
  DEVICE_MEMBER void find() {
    if (a.bits) count = walk_bits<many>(at<int>(a.bits), a.neurons.all, EntryTaker<many>{own, 0, 0, 0});
  }
  /// The number of an entry that is the block's, which need not be one of those that are chosen.
  DEVICE_MEMBER int number(int i) const {
    if (!a.bits) return chosen_row(a.neurons, 0, least(i, a.neurons.all - 1));
    return own[least(i / many / (int)gridDim.x * many + i % many, a.entries - 1)];
  }
  /// How many there are; the block comes together.
  DEVICE_MEMBER void read_count() {
    if (!a.bits) count = read_known(a.neurons, 0).count;
  }
};

/// Shared: the vector, the block's entries. The vector comes first: behind a number that is not known, the
/// compiler would read it four bytes at a time.
template <class T> DEVICE void raise_neurons(const dv_up_arguments &a) {
  DYNAMIC(float, x);
  SHARED int nonzero;
  int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32), active = 0;
  // Neighbours go to different blocks, so that few entries still use the whole card.
  int i = threadIdx.x / 32 * gridDim.x + blockIdx.x;
  Entries<1> entries(a, (int *)x + 4 * Vector<T>::pieces(a.width));
  Pieces pieces;
  if (threadIdx.x == 0) nonzero = 0;
  if (!entries.early) await_inputs();
  if (!entries.early) copy_pieces(x, a.x, Vector<T>::pieces(a.width));
  entries.find();
  // The first entry comes beside their number.
  int neuron = entries.number(i);
  entries.read_count();
  if (i >= entries.count) neuron = -1;
  if (neuron >= 0) ask_row(pieces, first_row<T>(a, neuron), 0, a.padded_width, lane);
  if (entries.early) await_inputs();
  if (entries.early) copy_pieces(x, a.x, Vector<T>::pieces(a.width));
  await_copies();
  __syncthreads();
  while (neuron >= 0) {
    int next = i + warps < entries.count ? entries.number(i + warps) : -1;
    float product, value = raise_entry<T>(a, pieces, x, neuron, next, lane, product);
    if (lane == 0) {
      at<float>(a.values)[i] = value;
      if (a.products) at<float>(a.products)[i] = product;
      active += value != 0;
    }
    neuron = next;
    i += warps;
  }
  if (lane == 0 && active) atomicAdd(&nonzero, active);
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (nonzero) atomicAdd(at<int>(a.counters) + 1, nonzero);
  if (blockIdx.x == 0) atomicAdd(at<int>(a.counters), entries.count);
}
FOR_WEIGHTS(512, 2, raise_neurons, dv_up_arguments)

template <class T> struct NeuronItem {
  const dv_down_arguments &a;
  int begin, end;
  DEVICE_MEMBER void open() {
    int count = read_known(a.neurons, 0).count;
    begin = slice_start(count, blockIdx.y, gridDim.y);
    end = slice_start(count, blockIdx.y + 1, gridDim.y);
  }
  DEVICE_MEMBER bool is_idle() const { return false; }
  DEVICE_MEMBER void fill() {}
  DEVICE_MEMBER float value(int n) const {
    return at<float>(a.values)[a.values_by_row ? chosen_row(a.neurons, 0, n) : n];
  }
  DEVICE_MEMBER const T *row(int n) const {
    i64 row = (chosen_row(a.neurons, 0, n) + 1) * a.rows_per_neuron - 1;
    return at<T>(a.bundle) + row * a.row_stride;
  }
};

/// Grid: tiles of columns, slices of the neurons.
template <class T> DEVICE void sum_neurons(const dv_down_arguments &a) {
  NeuronItem<T> item = {a, 0, 0};
  gather_sum<T>(item, !a.neurons.count || a.neurons.early, a.skips != 1, a.padded_width,
                at<float>(a.out) + (i64)blockIdx.y * a.out_stride);
}
FOR_WEIGHTS(256, 4, sum_neurons, dv_down_arguments)

// What rows are ranked by --------------------------------------------------------------------------

/// A warp to a neuron; grid: blocks, tokens.
template <class T> DEVICE void size_neurons(const dv_neuron_size_arguments &a) {
  await_inputs();
  int lane = threadIdx.x % 32, neuron = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (neuron >= a.neurons) return;
  i64 row = (i64)(neuron + 1) * a.rows_per_neuron - 1;
  const T *down = at<T>(a.bundle) + row * a.row_stride;
  float squares = 0;
  for (int i = lane; i < a.width; i += 32) {
    float w = element(down, i, a.width);
    squares = fmaf(w, w, squares);
  }
  squares = warp_sum(squares);
  float value = at<float>(a.values)[(i64)blockIdx.y * a.value_stride + neuron];
  if (lane == 0)
    at<float>(a.sizes)[(i64)blockIdx.y * a.size_stride + neuron] = fabsf(value) * sqrtf(squares);
}
FOR_ALL_WEIGHTS(256, 1, size_neurons, dv_neuron_size_arguments)

/// A block to a group; grid: groups, tokens.
template <class T> DEVICE void size_groups(const dv_group_size_arguments &a) {
  await_inputs();
  SHARED float scratch[32];
  int group = blockIdx.x;
  const float *context = at<float>(a.context) + (i64)blockIdx.y * a.context_stride + group * a.lanes;
  const T *output = at<T>(a.output) + (i64)group * a.lanes * a.row_stride;
  float squares = 0;
  for (int column = threadIdx.x; column < a.width; column += blockDim.x) {
    float sum = 0;
    for (int lane = 0; lane < a.lanes; lane++)
      sum = fmaf(context[lane], element(output + (i64)lane * a.row_stride, column, a.width), sum);
    squares = fmaf(sum, sum, squares);
  }
  squares = block_sum(squares, scratch);
  if (threadIdx.x == 0)
    at<float>(a.sizes)[(i64)blockIdx.y * a.size_stride + group] = sqrtf(squares);
}
FOR_ALL_WEIGHTS(256, 1, size_groups, dv_group_size_arguments)
