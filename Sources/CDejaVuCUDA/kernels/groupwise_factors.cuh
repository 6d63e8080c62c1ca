// Rows of codes that are summed, as a block knows them, and factors that their codes meet: value · scale,
// rounded to 16 bits.
//
// A block has a tile of columns, whose rows come in segments. Two signed bytes are a factor, with a step for
// each group of a segment, so that sums of a segment stay integers.
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
#endif
