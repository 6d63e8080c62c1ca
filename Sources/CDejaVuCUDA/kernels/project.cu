// Queries, keys and values of chosen heads, and what the heads owe, where tensor cores do not take the
// weights with their inputs: a warp to a pair of rows and up to four positions.

enum { warp_positions = 4 };

/// `count` neighbouring lanes of a vector in the cache's type.
template <int count> DEVICE void read_kept(const CACHE *from, float (&out)[count]) {
  if constexpr (count == Pack<CACHE>::count) {
    unpack(*(const Quad *)from, out, CACHE());
  } else {
#pragma unroll
    for (int k = 0; k < count; k++) out[k] = widen(from[k]);
  }
}

/// Asks for a lane's next pieces of two rows.
template <class T>
DEVICE void ask_pair(Pieces &pieces, const T *row, int apart, int from, int padded, int lane) {
  const int count = Pack<T>::count, step = 32 * count;
#pragma unroll
  for (int j = 0; j < row_pieces; j++) {
    int i = from + j / 2 * step + lane * count;
    if (i < padded) pieces.quads[j] = stream(row + j % 2 * apart + i);
    else pieces.quads[j].w[0] = pieces.quads[j].w[1] = pieces.quads[j].w[2] = pieces.quads[j].w[3] = 0;
  }
}

/// One lane's share of two rows' products with several vectors, in an order that knows nothing of how
/// many there are. The first pieces were asked for.
template <class T, int vectors>
DEVICE void pair_dots(Pieces &pieces, const T *row, int apart, const CACHE *const (&x)[warp_positions],
                      int padded, int lane, float (&sums)[2][warp_positions]) {
  const int count = Pack<T>::count, step = 32 * count, stride = row_pieces / 2 * step;
#pragma unroll
  for (int v = 0; v < vectors; v++) sums[0][v] = sums[1][v] = 0;
  for (int from = 0; from < padded; from += stride) {
#pragma unroll
    for (int j = 0; j < row_pieces; j += 2) {
      int base = from + j / 2 * step;
      if (base >= padded) break;
      float first[count], second[count];
      unpack(pieces.quads[j], first, T());
      unpack(pieces.quads[j + 1], second, T());
#pragma unroll
      for (int v = 0; v < vectors; v++) {
        float values[count];
        read_kept<count>(x[v] + base + lane * count, values);
#pragma unroll
        for (int k = 0; k < count; k++) {
          sums[0][v] = fmaf(first[k], values[k], sums[0][v]);
          sums[1][v] = fmaf(second[k], values[k], sums[1][v]);
        }
      }
    }
    if (from + stride < padded) ask_pair<T>(pieces, row, apart, from + stride, padded, lane);
  }
}

/// One pair at up to four positions that its group owes; queries owe the last one only.
template <class T>
DEVICE void project_pair(const dv_project_arguments &a, Pieces &pieces,
                         const Debts<warp_positions> &debts, const RowPair &pair, int from,
                         const CACHE *x, int lane) {
  const T *row = row_of<T>(a, pair);
  int apart = pair.apart * a.row_stride, count = least(warp_positions, debts.end - from);
  const CACHE *inputs[warp_positions];
#pragma unroll
  for (int i = 0; i < warp_positions; i++) {
    int p = least(from + i, debts.end - 1);
    inputs[i] = p == debts.position || a.window == 0
                    ? x : at<CACHE>(a.kept) + (i64)(p % a.window) * a.kept_stride;
  }
  float sums[2][warp_positions];
  if (count == 1) pair_dots<T, 1>(pieces, row, apart, inputs, a.padded_width, lane, sums);
  else if (count == 2) pair_dots<T, 2>(pieces, row, apart, inputs, a.padded_width, lane, sums);
  else pair_dots<T, 4>(pieces, row, apart, inputs, a.padded_width, lane, sums);
#pragma unroll
  for (int i = 0; i < warp_positions; i++) {
    if (i >= count) break;
    float first = warp_sum(sums[0][i]), second = warp_sum(sums[1][i]);
    if (lane == i) store_products(a, pair, from + i, first, second);
  }
}

/// Shared: the vector in the cache's type, groups and what they settled.
template <class T> DEVICE void project_pairs(const dv_project_arguments &a) {
  DYNAMIC(CACHE, x);
  int wide = arranged_width(a.width), quads = wide * sizeof(CACHE) / 16, lane = threadIdx.x % 32;
  // Neighbouring pairs go to different blocks, so that few of them still use the whole card.
  int item = threadIdx.x / 32 * gridDim.x + blockIdx.x, step = gridDim.x * (blockDim.x / 32);
  bool early = !a.settles_only && (!a.groups.list || a.groups.early);
  Debts<warp_positions> debts;
  debts.memory = (int *)(x + wide);
  if (!early) await_inputs();
  debts.read(a);
  KindCounts pairs = count_pairs(a);
  int items = count_items(a, pairs, debts);
  Pieces pieces;
  Item own = {0, 0, 0, 0, 0};
  RowPair pair = {0, 0, 0, 0, 0};
  auto ask = [&] {
    if (item >= items) return;
    own = find_item(a, pairs, debts, item);
    pair = pair_rows(a, own, own.place);
    ask_pair<T>(pieces, row_of<T>(a, pair), pair.apart * a.row_stride, 0, a.padded_width, lane);
  };
  ask();
  if (early) await_inputs();
  if (!a.settles_only) copy_pieces(x, a.x, quads);
  await_copies();
  __syncthreads();
  if (!a.settles_only && blockIdx.x == 0) {
    // The vector is kept for who owes, and what is read is counted.
    Quad *kept =
        (Quad *)(at<CACHE>(a.kept) + (i64)(debts.position % most(a.window, 1)) * a.kept_stride);
    for (int i = threadIdx.x; i < quads && a.window > 0; i += blockDim.x) kept[i] = ((Quad *)x)[i];
    if (threadIdx.x / 32 == blockDim.x / 32 - 1) debts.count(a, lane);
  }
  while (item < items) {
    project_pair<T>(a, pieces, debts, pair, own.from, x, lane);
    item += step;
    ask();
  }
}

/// Tensor cores where weights are stored as inputs are.
template <class T> DEVICE void project_heads(const dv_project_arguments &a) {
  if constexpr (Tensor<T, CACHE>::cores) project_tiles<T>(a);
  else project_pairs<T>(a);
}
template <class T> struct ProjectThreads {
  enum { count = Tensor<T, CACHE>::cores ? 32 * dv_tile_warps : 256 };
};
#define PROJECT_HEADS(name, type) \
  KERNEL(ProjectThreads<type>::count, 1) \
  project_heads_##name(dv_project_arguments a) { project_heads<type>(a); }
PROJECT_HEADS(f32, float)
PROJECT_HEADS(f16, f16)
PROJECT_HEADS(bf16, bf16)
#ifdef CODE_GROUP
KERNEL(32 * dv_code_tile_warps, 1) project_heads_i4(dv_project_arguments a) { project_tiles<i4>(a); }
KERNEL(32 * dv_code_tile_warps, 1) project_heads_i8(dv_project_arguments a) { project_tiles<i8>(a); }
#endif
