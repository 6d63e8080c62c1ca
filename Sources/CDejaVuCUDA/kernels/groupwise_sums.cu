// Sums of chosen rows of codes: the MLP of one token, and output rows of attention.
//
// Codes meet factors, value · scale, in tensor cores as lanes have loaded them. Of 128 bytes of a row lane l
// has unit l / 4, of rows 2 (l % 4) and 2 (l % 4) + 1 of eight: two chunks' words are rows of a product, and
// the rows of weights are what it adds up. A word's four bytes are columns of their own, which a product
// would add up as well: so each column of the other side has factors at one of the four and zeros at the
// others, columns 2d and 2d + 1 high and low bytes for byte d, and lane l receives the sums of byte l % 4.
// Chunks have scales of their own, so that a product belongs to one of the two, and half of it to nobody.
//
// Factors are rounded to 16 bits, two signed bytes, with a step for each group of a segment of rows, so that
// sums of a segment stay integers. They are made between the rounds of the segment before. Two blocks live on
// a multiprocessor.
#ifdef CODE_GROUP

/// Chunks of a warp, warps that have a tile's columns together, and sets of them that take turns at rows.
enum { own_chunks = 2, set_warps = 4, sum_sets = dv_sum_threads / 32 / set_warps };
/// Rows whose factors share steps, eights of them, eights that a warp has on their way, and rounds of those.
enum {
  segment_rows = CODE_GROUP == 32 ? 128 : 256,
  segment_eights = segment_rows / 8,
  ring = 4,
  segment_rounds = segment_eights / (sum_sets * ring)
};

/// A tile of columns: 512 bytes of every row.
template <class T> struct Tile {
  enum {
    columns = 32 * 128 / Coding<T>::bits,
    groups = columns / CODE_GROUP,
    workers = dv_sum_threads / groups < segment_eights ? dv_sum_threads / groups : segment_eights,
    /// Eights of rows whose factors a thread makes, for one group.
    eights = segment_eights / workers,
    /// 16-byte pieces of a row's scales.
    pieces = groups > 8 ? groups / 8 : 1
  };
};

/// What the warps of a block share. Of two segments that follow each other, every other one's is kept.
template <class T> struct Segment {
  /// Of every set but the first.
  float sums[sum_sets - 1][Tile<T>::columns];
  /// Items of the slice.
  int begin, end;
  /// High and low bytes of factors: of even rows of eight, then of odd ones.
  Pair factors[2][segment_eights][Tile<T>::groups][2];
  /// Places of rows in 16 bytes, or `nowhere`: of a segment, the next one and the one behind it.
  alignas(16) u32 rows[4][segment_rows];
  alignas(16) float values[2][segment_rows];
  Quad scales[2][segment_rows][Tile<T>::pieces];
  u32 greatest[dv_sum_threads / 32][Tile<T>::groups];
  float steps[2][Tile<T>::groups];
  float offsets[Offset<T>::wanted ? Tile<T>::workers : 1][Tile<T>::groups];
};

/// Where a row is not read.
enum { nowhere = 0xffffffffu };

/// A row's place and its value, on their way to shared memory.
struct KnownRow { u32 row; float value; };

template <class T, class Item>
DEVICE KnownRow know_row(const Segment<T> &shared, const Item &item, const T *base, int segment,
                         bool reads_all, bool has_values) {
  int n = shared.begin + segment * segment_rows + (int)threadIdx.x;
  KnownRow known = {nowhere, 0};
  if (threadIdx.x >= segment_rows || n >= shared.end) return known;
  if (has_values) known.value = item.value(n);
  if (reads_all || known.value != 0) known.row = (u32)((item.row(n) - base) >> 4);
  return known;
}

template <class T>
DEVICE void keep_row(Segment<T> &shared, const KnownRow &known, int segment) {
  if (threadIdx.x >= segment_rows) return;
  shared.rows[segment % 4][threadIdx.x] = known.row;
  shared.values[segment % 2][threadIdx.x] = known.value;
}

/// What a lane has of eight rows: a unit of two.
struct Eight { Quad units[2]; };

/// A warp's part of a tile, and where its lane reads in every row.
template <class T> struct Part {
  int set, chunk;
  /// Whether the rows have any of the warp's columns, and the lane's.
  bool has_work, reads;
  const char *first;
  /// What brings the byte of a lane's rows to its column's place.
  u32 turn;
};
template <class T> DEVICE Part<T> own_part(const T *base, int padded) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, chunk = warp % set_warps * own_chunks;
  int at_row = blockIdx.x * (set_warps * own_chunks) + chunk, chunks = Chunk<T>::count(padded) - at_row;
  return {warp / set_warps, chunk, chunks > 0, chunks > lane / 16,
          (const char *)base + 64 * at_row + lane / 4 * 16, 0x4444u ^ (4u ^ lane % 4) << lane / 8 * 4};
}

/// Asks for a lane's units of eight rows, its two of which are given. What is not read stays as it was: its
/// factors are zeros.
template <class T> DEVICE void ask_eight(Eight &own, const Pair &rows, const Part<T> &part) {
#pragma unroll
  for (int j = 0; j < 2; j++)
    stream_if(own.units[j], step_to(part.first, rows.w[j]), rows.w[j] != nowhere && part.reads);
}
/// A lane's two rows of every eight.
template <class T> DEVICE const Pair *lane_rows(const Segment<T> &shared, int eight) {
  return (const Pair *)shared.rows[0] + eight % (4 * segment_eights) * 4 + threadIdx.x % 4;
}

/// Copies the scales of a thread's row beside what the block does, whole pieces.
template <class T>
DEVICE void copy_scales(Segment<T> &shared, const T *base, u32 row, int segment, int padded) {
  int bytes = 2 * row_groups(padded), from = blockIdx.x * Tile<T>::groups * 2 & ~15;
  if (threadIdx.x >= segment_rows) return;
#pragma unroll
  for (int i = 0; i < Tile<T>::pieces; i++) {
    Quad *to = &shared.scales[segment % 2][threadIdx.x][i];
    int place = from + i * 16;
    if (row != nowhere && place < bytes)
      copy_quad(to, base + (i64)row * 16 + code_bytes(padded, Coding<T>::bits) + place);
    else to->w[0] = to->w[1] = to->w[2] = to->w[3] = 0;
  }
}

/// Eight factors as signed bytes: high ones, then low ones, of even rows and of odd ones each.
DEVICE void round_factors(const float (&values)[8], float inverse, Pair *bytes) {
  u32 rounded[8];
#pragma unroll
  // The low bits of such a sum are the rounded number's.
  for (int j = 0; j < 8; j++) rounded[j] = __float_as_uint(fmaf(values[j], inverse, 12582912.0f));
#pragma unroll
  for (int j = 0; j < 2; j++) {
    u32 a = rounded[j], b = rounded[j + 2], c = rounded[j + 4], d = rounded[j + 6];
    bytes[1].w[j] = pick_bytes(pick_bytes(a, b, 0x40), pick_bytes(c, d, 0x40), 0x5410);
    bytes[0].w[j] = pick_bytes(pick_bytes(a + 128, b + 128, 0x51), pick_bytes(c + 128, d + 128, 0x51),
                               0x5410);
  }
}

/// What a thread makes factors of: a group of the tile, and every so many eights.
template <class T> struct FactorShare {
  int group, worker, at_row;
  bool has_scale;
};
template <class T> DEVICE FactorShare<T> share_factors(int padded) {
  int group = threadIdx.x % Tile<T>::groups, worker = threadIdx.x / Tile<T>::groups;
  int at_row = blockIdx.x * Tile<T>::groups + group;
  return {group, worker, at_row, worker < Tile<T>::workers && at_row < row_groups(padded)};
}

/// Values · scales of eight rows in a thread's group.
template <class T>
DEVICE void weigh_eight(float (&weights)[8], const Segment<T> &shared, const FactorShare<T> &own, int segment,
                        int eight) {
  const Quad *fours = (const Quad *)&shared.values[segment % 2][8 * eight], values[2] = {fours[0], fours[1]};
  // A piece may begin before the tile.
  int at_piece = (own.at_row - own.group) % 8 + own.group;
#pragma unroll
  for (int j = 0; j < 8; j++) {
    f16 scale = ((const f16 *)shared.scales[segment % 2][8 * eight + j])[at_piece];
    weights[j] = own.has_scale ? __uint_as_float(values[j / 4].w[j % 4]) * widen(scale) : 0.0f;
  }
}

/// Leaves the greatest factors of a segment that a warp knows of, and adds what its zeros are worth.
template <class T> DEVICE void size_factors(Segment<T> &shared, const T *base, int segment, int padded) {
  FactorShare<T> own = share_factors<T>(padded);
  u32 greatest = 0;
  float offset = 0;
#pragma unroll
  for (int e = 0; e < Tile<T>::eights && own.has_scale; e++) {
    float weights[8];
    int eight = own.worker + e * Tile<T>::workers;
    weigh_eight(weights, shared, own, segment, eight);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      // As integers, so that what is no number is the greatest: it makes the step none as well, and
      // rounding hides neither.
      u32 size = __float_as_uint(weights[j]) & 0x7fffffffu;
      greatest = size > greatest ? size : greatest;
      u32 row = shared.rows[segment % 4][8 * eight + j];
      if (Offset<T>::wanted && row != nowhere)
        offset = fmaf(weights[j], 0.5f * zero_offset(base + (i64)row * 16, padded, own.at_row), offset);
    }
  }
#pragma unroll
  for (int step = 16; step >= Tile<T>::groups; step >>= 1) {
    u32 other = __shfl_xor_sync(all_lanes, greatest, step);
    greatest = other > greatest ? other : greatest;
  }
  if (threadIdx.x % 32 < Tile<T>::groups) shared.greatest[threadIdx.x / 32][own.group] = greatest;
  if (Offset<T>::wanted && own.has_scale) shared.offsets[own.worker][own.group] += offset;
}

/// Rounds a segment's factors.
template <class T> DEVICE void make_factors(Segment<T> &shared, int segment, int padded) {
  FactorShare<T> own = share_factors<T>(padded);
  u32 greatest = 0;
#pragma unroll
  for (int w = 0; w < dv_sum_threads / 32; w++) {
    u32 other = shared.greatest[w][own.group];
    greatest = other > greatest ? other : greatest;
  }
  float most_of = __uint_as_float(greatest);
  float inverse = most_of > 1e-30f ? 32639.0f / most_of : 0.0f;
  if (own.worker == 0) shared.steps[segment % 2][own.group] = most_of * (code_unit<T>() / 32639.0f);
#pragma unroll
  for (int e = 0; e < Tile<T>::eights && own.worker < Tile<T>::workers; e++) {
    float weights[8];
    int eight = own.worker + e * Tile<T>::workers;
    weigh_eight(weights, shared, own, segment, eight);
    round_factors(weights, inverse, shared.factors[segment % 2][eight][own.group]);
  }
}

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
#pragma unroll 1
    for (int round = 0; round < segment_rounds; round++) {
      // The next segment's factors.
      bool follows = segment + 1 < segments;
      if (follows && round == segment_rounds / 4) {
        await_copies();
        __syncthreads();
        size_factors(shared, base, segment + 1, padded);
      }
      if (follows && round == segment_rounds - 1) {
        __syncthreads();
        make_factors(shared, segment + 1, padded);
      }
      // The last segment may be short.
      add_round(sums, own, shared, part, segment, round, eights - segment * segment_eights);
    }
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
  OutputItem<T> item = {a, groups, (float *)(groups + a.groups.all + 1), 0, 0};
  gather_codes(item, at<T>(a.output), !a.groups.count || a.groups.early, true, a.padded_width,
               at<float>(a.out) + (i64)output_slice(a) * a.out_stride);
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
