// Sums of chosen rows of codes: the MLP of one token, and output rows of attention.
//
// Codes meet factors in tensor cores as lanes have loaded them. Of 128 bytes of a row lane l has unit l / 4,
// of rows 2 (l % 4) and 2 (l % 4) + 1 of eight: two chunks' words are rows of a product, and the rows of
// weights are what it adds up. A word's four bytes are columns of their own, which a product would add up as
// well: so each column of the other side has factors at one of the four and zeros at the others, columns 2d
// and 2d + 1 high and low bytes for byte d, and lane l receives the sums of byte l % 4. Chunks have scales of
// their own, so that a product belongs to one of the two, and half of it to nobody.
//
// Factors of a segment of rows are made between the rounds of the segment before. Two blocks live on a
// multiprocessor.
#ifdef CODE_GROUP

/// Of a tile's groups the first that a chunk meets.
template <class T> DEVICE int chunk_group(int chunk) {
  return Coding<T>::bits == 8 && CODE_GROUP == 128 ? chunk / 2 : chunk * Coding<T>::groups;
}

/// A lane's integer sums: with the factors of both chunks, of every half and pair of words, high and low ones
/// of both words.
template <class T> struct CodeSums { int of[own_chunks][Coding<T>::halves][2][4]; };

/// Adds eight rows to a lane's sums. `factors` are those of the warp's first group, high or low ones as the
/// lane brings them.
template <class T>
DEVICE void add_eight(CodeSums<T> &sums, const Eight &own, const Pair *factors, u32 turn) {
#pragma unroll
  for (int h = 0; h < Coding<T>::halves; h++)
#pragma unroll
    for (int b = 0; b < 2; b++) {
      u32 codes[4];
#pragma unroll
      for (int i = 0; i < 4; i++) codes[i] = centred<T>(own.units[i / 2].w[2 * b + i % 2], h);
#pragma unroll
      for (int c = 0; c < own_chunks; c++) {
        Pair bytes = factors[2 * (chunk_group<T>(c) + word_group(h, 2 * b))];
        multiply_codes(sums.of[c][h][b], codes, pick_bytes(bytes.w[0], 0, turn),
                       pick_bytes(bytes.w[1], 0, turn));
      }
    }
}

/// Adds a round of a segment that ends behind `last` eights, and asks for the next one.
template <class T>
DEVICE void add_round(CodeSums<T> &sums, Eight (&own)[ring], const Segment<T> &shared, const Part<T> &part,
                      int segment, int round, int last) {
  int first = part.set + round * (sum_sets * ring), high_or_low = threadIdx.x / 4 % 2;
  const Pair *factors = &shared.factors[segment % 2][first][chunk_group<T>(part.chunk)][high_or_low];
  const Pair *ahead = lane_rows(shared, segment * segment_eights + first + sum_sets * ring);
#pragma unroll
  for (int r = 0; r < ring; r++) {
    if (first + sum_sets * r >= last) break;
    add_eight(sums, own[r], factors + sum_sets * r * (2 * Tile<T>::groups), part.turn);
    ask_eight(own[r], ahead[4 * sum_sets * r], part);
  }
}

/// Adds a segment that ends behind `last` eights, and makes the factors of the next one where one `follows`.
template <class T>
DEVICE void add_segment(CodeSums<T> &sums, Eight (&own)[ring], Segment<T> &shared, const Part<T> &part,
                        const T *base, int segment, bool follows, int last, int padded) {
#pragma unroll 1
  for (int round = 0; round < segment_rounds; round++) {
    if (follows && round == segment_rounds / 4) {
      await_copies();
      __syncthreads();
      size_factors(shared, base, segment + 1, padded);
    }
    if (follows && round == segment_rounds - 1) {
      __syncthreads();
      make_factors(shared, segment + 1, padded);
    }
    add_round(sums, own, shared, part, segment, round, last);
  }
}

/// A lane's columns as floats: of every half, the words of its unit.
template <class T> struct ColumnSums { float of[Coding<T>::halves][4]; };

/// Brings a lane's sums of a segment into floats; `steps` begin with the warp's.
template <class T>
DEVICE void leave_sums(ColumnSums<T> &columns, const CodeSums<T> &sums, const float *steps) {
  int chunk = threadIdx.x % 32 / 16;
#pragma unroll
  for (int h = 0; h < Coding<T>::halves; h++)
#pragma unroll
    for (int w = 0; w < 4; w++) {
      const int *first = &sums.of[0][h][w / 2][w % 2 * 2], *second = &sums.of[1][h][w / 2][w % 2 * 2];
      int high = chunk ? second[0] : first[0], low = chunk ? second[1] : first[1];
      float step = steps[chunk_group<T>(chunk) + word_group(h, w)];
      columns.of[h][w] = fmaf((float)(256 * high + low), step, columns.of[h][w]);
    }
}

/// Adds what zeros are worth for every group of a tile; the block comes together.
template <class T> DEVICE void add_offsets(Segment<T> &shared) {
  __syncthreads();
  if (threadIdx.x >= Tile<T>::groups) return;
  float sum = 0;
  for (int w = 0; w < Tile<T>::workers; w++) sum += shared.offsets[w][threadIdx.x];
  shared.offsets[0][threadIdx.x] = sum;
}

/// Adds the sets' sums of a tile and leaves them in `out`.
template <class T>
DEVICE void leave_coded_tile(Segment<T> &shared, const ColumnSums<T> &own, const Part<T> &part, int padded,
                             float *out) {
  int lane = threadIdx.x % 32;
  // Byte d of word w of a unit is column 16 w + 4 (unit % 4) + d of a half.
  int first = (part.chunk + lane / 16) * Chunk<T>::columns + lane / 4 % 4 * 4 + lane % 4;
  if (Offset<T>::wanted) add_offsets(shared);
#pragma unroll
  for (int i = 0; i < Coding<T>::halves * 4 && part.set > 0; i++)
    shared.sums[part.set - 1][first + 64 * (i / 4) + 16 * (i % 4)] = own.of[i / 4][i % 4];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Coding<T>::halves * 4 && part.set == 0; i++) {
    int at = first + 64 * (i / 4) + 16 * (i % 4), column = blockIdx.x * Tile<T>::columns + at;
    float sum = own.of[i / 4][i % 4];
    for (int s = 0; s < sum_sets - 1; s++) sum += shared.sums[s][at];
    if (Offset<T>::wanted) sum += shared.offsets[0][at / CODE_GROUP];
    if (column < padded) out[column] = sum;
  }
}

/// Learns a slice's first rows and asks for them, their scales and, where `asked`, their values behind them.
template <class T, class Item>
DEVICE void start_rows(Segment<T> &shared, Eight (&own)[ring], Item &item, const T *base,
                       const Part<T> &part, bool asked, bool reads_all, int padded) {
#pragma unroll
  for (int s = 0; s < 2; s++) {
    KnownRow known = know_row(shared, item, base, s, reads_all, !asked);
    keep_row(shared, known, s);
    copy_scales(shared, base, known.row, s, padded);
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < ring; r++) ask_eight(own[r], *lane_rows(shared, part.set + sum_sets * r), part);
  if (!asked) return;
  await_inputs();
  item.fill();
#pragma unroll
  for (int s = 0; s < 2; s++) keep_row(shared, know_row(shared, item, base, s, true, true), s);
}

/// Sums over a slice's items, as `gather_sum` does; where the items are known `early`, codes and scales
/// are asked for before values are there.
template <class T, class Item>
DEVICE void gather_codes(Item &item, const T *base, bool early, bool reads_all, int padded, float *out) {
  static_assert(segment_rounds * sum_sets * ring == segment_eights, "a segment is a whole number of rounds");
  static_assert(segment_rows <= dv_sum_threads, "a row of a segment has its own thread");
  static_assert(sizeof(Segment<T>) <= dv_segment_bytes, "a segment needs more shared memory");
  DYNAMIC(unsigned char, memory);
  Segment<T> &shared = *(Segment<T> *)memory;
  const Part<T> part = own_part(base, padded);
  bool asked = early && reads_all;
  if (!asked) await_inputs();
  item.open();
  if (item.is_idle()) return;
  if (!asked) item.fill();
  if (threadIdx.x == 0) {
    shared.begin = item.begin;
    shared.end = item.end;
  }
  if (Offset<T>::wanted && threadIdx.x < Tile<T>::workers * Tile<T>::groups)
    shared.offsets[threadIdx.x / Tile<T>::groups][threadIdx.x % Tile<T>::groups] = 0;
  __syncthreads();
  int rows = item.end - item.begin, segments = (rows + segment_rows - 1) / segment_rows;
  int eights = part.has_work ? (rows + 7) / 8 : 0;
  Eight own[ring] = {};
  start_rows(shared, own, item, base, part, asked, reads_all, padded);
  await_copies();
  __syncthreads();
  size_factors(shared, base, 0, padded);
  __syncthreads();
  make_factors(shared, 0, padded);
  __syncthreads();
  ColumnSums<T> columns = {};
#pragma unroll 1
  for (int segment = 0; segment < segments; segment++) {
    KnownRow next = know_row(shared, item, base, segment + 2, reads_all, true);
    CodeSums<T> sums = {};
    // The last segment may be short.
    int last = eights - segment * segment_eights;
    add_segment(sums, own, shared, part, base, segment, segment + 1 < segments, last, padded);
    leave_sums(columns, sums, shared.steps[segment % 2] + chunk_group<T>(part.chunk));
    keep_row(shared, next, segment + 2);
    copy_scales(shared, base, next.row, segment + 2, padded);
    __syncthreads();
  }
  leave_coded_tile(shared, columns, part, padded, out);
}

/// Grid: tiles of columns, planes of riders and slices of the lanes. Shared: a segment, groups,
/// then values of a slice's lanes; or the riders'.
template <class T> DEVICE void sum_coded_heads(const dv_output_arguments &a) {
  if (rides(a)) return;
  DYNAMIC(unsigned char, memory);
  int *groups = (int *)(memory + dv_segment_bytes);
  OutputItem<T> item = {a, groups, (float *)(groups + a.groups.all + 1), 0, 0, 0};
  gather_codes(item, at<T>(a.output), !a.groups.count || a.groups.early, true, a.padded_width,
               at<float>(a.out) + (i64)output_slice(a) * a.out_stride);
  item.clear_idle(Tile<T>::columns);
}
KERNEL(dv_sum_threads, code_blocks)
sum_heads_i4(const GRID_CONSTANT dv_output_arguments a) { sum_coded_heads<i4>(a); }
KERNEL(dv_sum_threads, code_blocks)
sum_heads_i8(const GRID_CONSTANT dv_output_arguments a) { sum_coded_heads<i8>(a); }

/// Grid: tiles of columns, slices of the neurons. Shared: a segment.
template <class T> DEVICE void sum_coded_neurons(const dv_down_arguments &a) {
  NeuronItem<T> item = {a, 0, 0};
  gather_codes(item, at<T>(a.bundle), !a.neurons.count || a.neurons.early, a.skips != 1, a.padded_width,
               at<float>(a.out) + (i64)blockIdx.y * a.out_stride);
}
KERNEL(dv_sum_threads, code_blocks)
sum_neurons_i4(dv_down_arguments a) { sum_coded_neurons<i4>(a); }
KERNEL(dv_sum_threads, code_blocks)
sum_neurons_i8(dv_down_arguments a) { sum_coded_neurons<i8>(a); }

// Random codes -------------------------------------------------------------------------------------

/// Codes as `SyntheticModel` draws them, 64 bits at a time, one scale for all groups.
KERNEL(256, 1) fill_codes(dv_fill_codes_arguments a) {
  u64 words = a.code_bytes / 8, count = a.rows * words, step = (u64)gridDim.x * blockDim.x;
  u64 start = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  for (u64 i = start; i < count; i += step) {
    u64 row = a.first_row + i / words * a.row_step;
    *(u64 *)(at<char>(a.to) + row * a.row_stride + i % words * 8) =
        mixed(a.seed, row * words + i % words);
  }
  for (u64 i = start; i < a.rows * a.groups; i += step) {
    u64 row = a.first_row + i / a.groups * a.row_step;
    u16 *scales = (u16 *)(at<char>(a.to) + row * a.row_stride + a.code_bytes);
    scales[i % a.groups] = narrow_f16(a.scale);
  }
}
#endif
