// Sums of chosen rows of codes: the MLP of one token, and output rows of attention.
//
// Four rows at a time: transposed byte by byte, their codes meet four factors, value · scale, in one
// lane. Factors are rounded to 16 bits, two signed bytes, with a step for each group of a segment of
// rows, so that sums of a segment stay integers. Two blocks live on a multiprocessor; a unit of each row is
// a lane's, four rows of a segment a warp's in turn.
#ifdef CODE_GROUP

/// Warps of a block, rows whose factors share steps, and fours of rows that a warp has on their way.
enum {
  sum_warps = dv_sum_threads / 32,
  segment_rows = CODE_GROUP == 32 ? 128 : 256,
  segment_fours = segment_rows / 4,
  ring = 2
};

/// A tile of columns: a unit for every lane.
template <class T> struct Tile {
  enum {
    columns = 32 * 128 / Coding<T>::bits,
    blocks = columns / 128,
    groups = columns / CODE_GROUP,
    workers = dv_sum_threads / groups < segment_fours ? dv_sum_threads / groups : segment_fours,
    /// Fours of rows whose factors a thread makes, for one group.
    fours = segment_fours / workers,
    sums = columns / 32,
    /// 16-byte pieces of a row's scales.
    pieces = groups > 8 ? groups / 8 : 1
  };
};

/// What the warps of a block share.
template <class T> struct Segment {
  /// Floats of every warp and lane, `[half][word]`, four bytes' each.
  Quad sums[sum_warps][Tile<T>::sums / 4][32];
  /// Items of the slice.
  int begin, end;
  /// High and low bytes of four rows' factors.
  u32 factors[segment_fours][Tile<T>::groups][2];
  /// Places of this segment's rows and of the next one's, in 16 bytes, or `nowhere`.
  alignas(16) u32 rows[2][segment_rows];
  alignas(16) float values[2][segment_rows];
  /// Of this segment's rows.
  Quad scales[segment_rows][Tile<T>::pieces];
  u32 greatest[Tile<T>::workers][Tile<T>::groups];
  float steps[Tile<T>::groups];
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
  shared.rows[segment % 2][threadIdx.x] = known.row;
  shared.values[segment % 2][threadIdx.x] = known.value;
}

/// Asks for a unit of four rows; `unit` is where it lies in the first.
template <class T>
DEVICE void ask_four(Quad (&quads)[4], const Segment<T> &shared, int four, int end, const T *unit) {
  Quad rows = *(const Quad *)&shared.rows[0][four % (2 * segment_fours) * 4];
#pragma unroll
  for (int j = 0; j < 4; j++) {
    if (four < end && rows.w[j] != nowhere) quads[j] = stream(unit + (i64)rows.w[j] * 16);
    else quads[j].w[0] = quads[j].w[1] = quads[j].w[2] = quads[j].w[3] = 0;
  }
}

/// Copies the scales of a segment's rows beside what the block does, whole pieces.
template <class T>
DEVICE void copy_scales(Segment<T> &shared, const T *base, int segment, int padded) {
  const int pieces = Tile<T>::pieces;
  int bytes = 2 * row_groups(padded), from = blockIdx.x * Tile<T>::groups * 2 & ~15;
  for (int i = threadIdx.x; i < segment_rows * pieces; i += blockDim.x) {
    u32 row = shared.rows[segment % 2][i / pieces];
    Quad *to = &shared.scales[i / pieces][i % pieces];
    int place = from + i % pieces * 16;
    const T *scales = base + (i64)row * 16 + code_bytes(padded, Coding<T>::bits);
    if (row != nowhere && place < bytes) copy_quad(to, scales + place);
    else to->w[0] = to->w[1] = to->w[2] = to->w[3] = 0;
  }
}

/// Four factors as two words of signed bytes.
DEVICE void round_factors(const float (&values)[4], float inverse, u32 *words) {
  u32 rounded[4];
#pragma unroll
  // The low bits of such a sum are the rounded number's.
  for (int j = 0; j < 4; j++) rounded[j] = __float_as_uint(fmaf(values[j], inverse, 12582912.0f));
  u32 low[2] = {pick_bytes(rounded[0], rounded[1], 0x40), pick_bytes(rounded[2], rounded[3], 0x40)};
  u32 high[2] = {pick_bytes(rounded[0] + 128, rounded[1] + 128, 0x51),
                 pick_bytes(rounded[2] + 128, rounded[3] + 128, 0x51)};
  words[0] = pick_bytes(high[0], high[1], 0x5410);
  words[1] = pick_bytes(low[0], low[1], 0x5410);
}

/// Makes a segment's factors and keeps the next one's rows; the block comes together.
template <class T>
DEVICE void make_factors(Segment<T> &shared, const T *base, const KnownRow &next, int segment,
                         int padded) {
  int at_row = blockIdx.x * Tile<T>::groups + threadIdx.x % Tile<T>::groups;
  int group = threadIdx.x % Tile<T>::groups, worker = threadIdx.x / Tile<T>::groups;
  bool has_work = worker < Tile<T>::workers, has_scale = has_work && at_row < row_groups(padded);
  float values[Tile<T>::fours][4], offset = 0;
  u32 greatest = 0;
  // Scales are there, and what the last segment left is read no more.
  await_copies();
  __syncthreads();
#pragma unroll
  for (int f = 0; f < Tile<T>::fours && has_work; f++) {
    int first = 4 * (worker + f * Tile<T>::workers);
    Quad four = *(const Quad *)&shared.values[segment % 2][first];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int place = first + j;
      // A piece may begin before the tile.
      const f16 *scales = (const f16 *)shared.scales[place] + (at_row - group) % 8;
      float value = has_scale ? __uint_as_float(four.w[j]) * widen(scales[group]) : 0.0f;
      values[f][j] = value;
      // As integers, so that what is no number is the greatest: it makes the step none as well, and
      // rounding hides neither.
      u32 size = __float_as_uint(value) & 0x7fffffffu;
      greatest = size > greatest ? size : greatest;
      u32 row = shared.rows[segment % 2][place];
      if (Offset<T>::wanted && has_scale && row != nowhere)
        offset = fmaf(value, 0.5f * zero_offset(base + (i64)row * 16, padded, at_row), offset);
    }
  }
  if (has_work) shared.greatest[worker][group] = greatest;
  if (Offset<T>::wanted && has_work) shared.offsets[worker][group] += offset;
  keep_row(shared, next, segment + 1);
  __syncthreads();
  for (int w = 0; w < Tile<T>::workers; w++) {
    u32 other = shared.greatest[w][group];
    greatest = other > greatest ? other : greatest;
  }
  float most_of = __uint_as_float(greatest);
  float inverse = most_of > 1e-30f ? 32639.0f / most_of : 0.0f;
  if (worker == 0) shared.steps[group] = most_of * (code_unit<T>() / 32639.0f);
#pragma unroll
  for (int f = 0; f < Tile<T>::fours && has_work; f++)
    round_factors(values[f], inverse, shared.factors[worker + f * Tile<T>::workers][group]);
  __syncthreads();
}

/// The four bytes of four words that stand at one place.
DEVICE void transpose_bytes(const u32 (&w)[4], u32 (&out)[4]) {
  u32 a = pick_bytes(w[0], w[1], 0x5140), b = pick_bytes(w[2], w[3], 0x5140);
  u32 c = pick_bytes(w[0], w[1], 0x7362), d = pick_bytes(w[2], w[3], 0x7362);
  out[0] = pick_bytes(a, b, 0x5410);
  out[1] = pick_bytes(a, b, 0x7632);
  out[2] = pick_bytes(c, d, 0x5410);
  out[3] = pick_bytes(c, d, 0x7632);
}

/// Adds a unit of four rows to a lane's sums, `[half][word][byte]`.
template <class T>
DEVICE void add_four(int (&sums)[Tile<T>::sums], const Quad (&quads)[4], const u32 (*factors)[2]) {
  const int groups = Coding<T>::groups;
#pragma unroll
  for (int b = 0; b < 4; b++) {
    // Read anew: registers are scarcer than shared memory's time.
    keep_order();
    u32 own[groups][2];
#pragma unroll
    for (int g = 0; g < groups; g++) {
      own[g][0] = factors[g][0];
      own[g][1] = factors[g][1];
    }
    u32 words[4] = {quads[0].w[b], quads[1].w[b], quads[2].w[b], quads[3].w[b]}, columns[4];
    transpose_bytes(words, columns);
#pragma unroll
    for (int h = 0; h < Coding<T>::halves; h++)
#pragma unroll
      for (int d = 0; d < 4; d++) {
        int &sum = sums[16 * h + 4 * b + d], g = word_group(h, b);
        u32 codes = centred<T>(columns[d], h);
        sum = dot4s(codes, own[g][1], dot4s(codes, own[g][0], 0) * 256 + sum);
      }
  }
}

/// Brings a lane's sums of a segment into floats.
template <class T>
DEVICE void leave_sums(Segment<T> &shared, const int (&sums)[Tile<T>::sums], bool first) {
  int lane = threadIdx.x % 32, group = first_group<T>(lane);
#pragma unroll
  for (int i = 0; i < Tile<T>::sums / 4; i++) {
    Quad &four = shared.sums[threadIdx.x / 32][i][lane], own = four;
    float step = shared.steps[group + word_group(i / 4, i % 4)];
#pragma unroll
    for (int d = 0; d < 4; d++) {
      float before = first ? 0.0f : __uint_as_float(own.w[d]);
      own.w[d] = __float_as_uint(fmaf((float)sums[4 * i + d], step, before));
    }
    four = own;
  }
}

/// Adds the warps' sums of a tile and leaves them in `out`.
template <class T> DEVICE void leave_coded_tile(Segment<T> &shared, int padded, float *out) {
  __syncthreads();
  for (int i = threadIdx.x; i < Tile<T>::columns; i += blockDim.x) {
    int column = blockIdx.x * Tile<T>::columns + i, half = i % 128 / 64;
    if (column >= padded) continue;
    int lane = i / 128 * (8 / Coding<T>::halves) + i % 16 / 4, word = i % 64 / 16;
    if (Coding<T>::halves == 2) word += 4 * half;
    else lane += 4 * half;
    float sum = 0;
    for (int w = 0; w < sum_warps; w++) sum += __uint_as_float(shared.sums[w][word][lane].w[i % 4]);
    for (int w = 0; w < Tile<T>::workers && Offset<T>::wanted; w++)
      sum += shared.offsets[w][i / CODE_GROUP];
    out[column] = sum;
  }
}

/// Sums over a slice's items, as `gather_sum` does; where the items are known `early`, codes and scales
/// are asked for before values are there.
template <class T, class Item>
DEVICE void gather_codes(Item &item, const T *base, bool early, bool reads_all, int padded, float *out) {
  static_assert(segment_fours % (sum_warps * ring) == 0, "a segment is a whole number of rounds");
  static_assert(sizeof(Segment<T>) <= dv_segment_bytes, "a segment needs more shared memory");
  DYNAMIC(unsigned char, memory);
  Segment<T> &shared = *(Segment<T> *)memory;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const T *unit = base + (blockIdx.x * 32 + lane) * 16;
  bool asked = early && reads_all;
  Quad quads[ring][4];
  if (!asked) await_inputs();
  item.open();
  if (!asked) item.fill();
  if (threadIdx.x == 0) {
    shared.begin = item.begin;
    shared.end = item.end;
  }
  __syncthreads();
  int rows = item.end - item.begin, segments = (rows + segment_rows - 1) / segment_rows;
  int fours = blockIdx.x * 32 + lane < padded * Coding<T>::bits / 128 ? (rows + 3) / 4 : 0;
  if (Offset<T>::wanted && threadIdx.x < Tile<T>::workers * Tile<T>::groups)
    shared.offsets[threadIdx.x / Tile<T>::groups][threadIdx.x % Tile<T>::groups] = 0;
  KnownRow first = know_row(shared, item, base, 0, reads_all, !asked);
  KnownRow next = know_row(shared, item, base, 1, reads_all, !asked);
  keep_row(shared, first, 0);
  keep_row(shared, next, 1);
  __syncthreads();
  copy_scales(shared, base, 0, padded);
#pragma unroll
  for (int r = 0; r < ring; r++) ask_four(quads[r], shared, warp + sum_warps * r, fours, unit);
  if (asked) {
    await_inputs();
    item.fill();
    first = know_row(shared, item, base, 0, true, true);
    next = know_row(shared, item, base, 1, true, true);
    keep_row(shared, first, 0);
  }
#pragma unroll 1
  for (int segment = 0; segment < most(segments, 1); segment++) {
    int sums[Tile<T>::sums];
    make_factors(shared, base, next, segment, padded);
    copy_scales(shared, base, segment + 1, padded);
    next = know_row(shared, item, base, segment + 2, reads_all, true);
#pragma unroll
    for (int i = 0; i < Tile<T>::sums; i++) sums[i] = 0;
    // The last segment may be short.
    int own = least(segment_fours, (rows + 3) / 4 - segment * segment_fours);
#pragma unroll 1
    for (int four = warp; four < own; four += sum_warps * ring)
#pragma unroll
      for (int r = 0; r < ring; r++) {
        int place = four + sum_warps * r;
        if (place >= own) break;
        add_four<T>(sums, quads[r], &shared.factors[place][first_group<T>(lane)]);
        ask_four(quads[r], shared, segment * segment_fours + place + sum_warps * ring, fours, unit);
      }
    leave_sums(shared, sums, segment == 0);
  }
  leave_coded_tile(shared, padded, out);
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
