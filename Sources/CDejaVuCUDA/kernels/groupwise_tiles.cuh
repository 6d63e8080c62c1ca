// Tiles of rows of codes for tensor cores: 32 rows, 128 bytes of each in a step.
#ifdef CODE_GROUP

/// Columns that 64 bytes of a row hold, and bytes that a row has of scales and of zeros for a step.
template <class T> struct CodeShape {
  enum {
    warps = dv_code_tile_warps,
    pairs = 16,
    rows = 32,
    pieces = 8,
    chunk = 512 / Coding<T>::bits,
    columns = 2 * chunk,
    sums = 8,
    buffers = 2,
    scale_bytes = 2 * (columns / CODE_GROUP),
    zero_bytes = Coding<T>::bits / 4 * (columns / CODE_GROUP),
    zero_words = (zero_bytes + 6) / 4
  };
  DEVICE_MEMBER static int vector_bytes(int width) { return Vector<T>::pieces(width) * 16; }
  DEVICE_MEMBER static int row_bytes(int padded) { return code_bytes(padded, Coding<T>::bits); }
  DEVICE_MEMBER static float unit() { return code_unit<T>(); }
  DEVICE_MEMBER static int pair(int j, int lane) { return 2 * j + lane / 16; }
  DEVICE_MEMBER static bool is_second(int, int lane) { return lane / 8 % 2 != 0; }
  DEVICE_MEMBER static int place(int j, int lane) { return 32 * j + (lane ^ lane / 16 * 4); }
};
template <> struct TileShape<i4> : CodeShape<i4> {};
template <> struct TileShape<i8> : CodeShape<i8> {};

/// Words around a step's zeros, where groups have any.
template <class T, bool has> struct StageZeros {};
template <class T> struct StageZeros<T, true> { u32 zeros[32][CodeShape<T>::zero_words]; };

template <class T> struct CodeStage : StageZeros<T, CODE_ZEROS> {
  Quad quads[tile_pieces * 32];
  alignas(16) unsigned char scales[32][CodeShape<T>::scale_bytes];
};
template <> struct Stage<i4> : CodeStage<i4> {};
template <> struct Stage<i8> : CodeStage<i8> {};

/// Besides, every lane asks for the scales of one row.
struct CodeRows {
  const char *base;
  int pieces[tile_pieces], scales;
};
template <> struct TileRows<i4> : CodeRows {};
template <> struct TileRows<i8> : CodeRows {};

template <class T>
DEVICE void place_scales(const dv_project_arguments &a, CodeRows &own, const Item &item, int first,
                         int last, int lane) {
  RowPair pair = pair_rows(a, item, least(first + lane / 2, last));
  own.scales = (pair.lane + lane % 2 * pair.apart) * a.row_stride +
               CodeShape<T>::row_bytes(a.padded_width);
}
DEVICE void place_more(const dv_project_arguments &a, TileRows<i4> &own, const Item &item, int first,
                       int last, int lane) {
  place_scales<i4>(a, own, item, first, last, lane);
}
DEVICE void place_more(const dv_project_arguments &a, TileRows<i8> &own, const Item &item, int first,
                       int last, int lane) {
  place_scales<i8>(a, own, item, first, last, lane);
}

/// What a lane has on its way of its row's scales, and of words around its zeros, which begin anywhere.
template <class T> struct CodeHeld {
  Quad quads[tile_pieces];
  u32 scales[(CodeShape<T>::scale_bytes + 2) / 4];
  u32 zeros[CODE_ZEROS ? CodeShape<T>::zero_words : 1];
};
template <> struct Held<i4> : CodeHeld<i4> {};
template <> struct Held<i8> : CodeHeld<i8> {};

template <class T>
DEVICE void ask_scales(CodeHeld<T> &held, const CodeRows &own, int step, int padded) {
  const int bytes = CodeShape<T>::scale_bytes, zero_bytes = CodeShape<T>::zero_bytes;
  const char *scales = own.base + own.scales;
  int all = 2 * row_groups(padded), from = bytes * step;
  if (bytes == 2) held.scales[0] = stream_half((const f16 *)(scales + from)).bits;
#pragma unroll
  for (int k = 0; k < bytes / 4; k++)
    if (from + 4 * k < all) held.scales[k] = stream_word(scales + from + 4 * k);
  if (!CODE_ZEROS) return;
  int begin = all + zero_bytes * step, stop = all + Coding<T>::bits / 4 * row_groups(padded);
  int end = least(begin + zero_bytes, stop);
#pragma unroll
  for (int k = 0; k < CodeShape<T>::zero_words; k++)
    if ((begin & ~3) + 4 * k < end) held.zeros[k] = stream_word(scales + (begin & ~3) + 4 * k);
}
DEVICE void ask_more(Held<i4> &held, const TileRows<i4> &own, int step, int padded, int) {
  ask_scales(held, own, step, padded);
}
DEVICE void ask_more(Held<i8> &held, const TileRows<i8> &own, int step, int padded, int) {
  ask_scales(held, own, step, padded);
}

template <class T> DEVICE void put_scales(const CodeHeld<T> &held, CodeStage<T> &stage, int lane) {
  const int bytes = CodeShape<T>::scale_bytes;
  if (bytes == 2) *(u16 *)stage.scales[lane] = (u16)held.scales[0];
#pragma unroll
  for (int k = 0; k < bytes / 4; k++) ((u32 *)stage.scales[lane])[k] = held.scales[k];
  if constexpr (CODE_ZEROS) {
#pragma unroll
    for (int k = 0; k < CodeShape<T>::zero_words; k++) stage.zeros[lane][k] = held.zeros[k];
  }
}
DEVICE void put_more(const Held<i4> &held, Stage<i4> &stage, int lane) {
  put_scales(held, stage, lane);
}
DEVICE void put_more(const Held<i8> &held, Stage<i8> &stage, int lane) {
  put_scales(held, stage, lane);
}

/// A group's scale, by its place in the step.
template <class T> DEVICE float stage_scale(const CodeStage<T> &stage, int row, int group) {
  if (CodeShape<T>::scale_bytes == 2) return widen_f16(*(const u16 *)stage.scales[row]);
  u32 word = *(const u32 *)(stage.scales[row] + group / 2 * 4);
  return widen_f16((u16)(word >> (group % 2 * 16)));
}

/// Twice what a group's zero lies below the middle.
template <class T>
DEVICE float stage_offset(const CodeStage<T> &stage, int row, int group, int step, int padded) {
  const int bits = Coding<T>::bits;
  if constexpr (CODE_ZEROS) {
    int begin = 2 * row_groups(padded) + CodeShape<T>::zero_bytes * step;
    const unsigned char *zero = (const unsigned char *)stage.zeros[row] + begin % 4 + bits / 4 * group;
    return bits == 4 ? 15.0f - *zero : 256.0f - *(const u16 *)zero;
  }
  return zero_offset((const T *)0, 0, 0);
}

/// Integer products of two rows' codes with a group's columns: 256 times the high bytes' and the low
/// ones'; `ones` takes the sums of the vectors alone.
template <class T, bool ones>
DEVICE void multiply_group(const Quad (&rows)[2], const UnitVector<T> &x, int group, int (&total)[4]) {
  const int each = 2 * Coding<T>::halves / Coding<T>::groups;
  int low[4] = {0, 0, 0, 0};
#pragma unroll
  for (int k = 0; k < 4; k++) total[k] = 0;
#pragma unroll
  for (int m = group * each; m < (group + 1) * each; m++) {
    int h = m / 2, b = m % 2 * 2;
    u32 codes[4];
#pragma unroll
    for (int r = 0; r < 4; r++)
      codes[r] = ones ? 0x01010101u : centred<T>(rows[r % 2].w[b + r / 2], h);
    multiply_codes(total, codes, x.high[h].w[b], x.high[h].w[b + 1]);
    multiply_codes(low, codes, x.low[h].w[b], x.low[h].w[b + 1]);
  }
#pragma unroll
  for (int k = 0; k < 4; k++) total[k] = 256 * total[k] + low[k];
}

/// Adds 64 bytes of 16 rows, the `block`-th of the tile's.
template <class T>
DEVICE void meet_chunk(const CodeStage<T> &stage, int chunk, int block, const UnitVector<T> &x,
                       const float (&steps)[2], int step, int padded, int lane,
                       float (&sums)[CodeShape<T>::sums]) {
  int row = 16 * block + lane / 4 * 2, place = 4 * chunk + lane % 4 ^ lane / 4 % 2 * 4;
  const Quad rows[2] = {stage.quads[8 * row + place], stage.quads[8 * row + 8 + place]};
  float own[4] = {0, 0, 0, 0};
#pragma unroll
  for (int g = 0; g < Coding<T>::groups; g++) {
    int total[4], all[4], group = chunk * CodeShape<T>::chunk / CODE_GROUP + g;
    multiply_group<T, false>(rows, x, g, total);
    if (Offset<T>::wanted) multiply_group<T, true>(rows, x, g, all);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float scale = stage_scale(stage, row + r, group), offset = 0;
      if (Offset<T>::wanted)
        offset = 0.5f / code_unit<T>() * stage_offset(stage, row + r, group, step, padded);
#pragma unroll
      for (int v = 0; v < 2; v++) {
        float product = (float)total[2 * r + v];
        if (Offset<T>::wanted) product = fmaf(offset, (float)all[2 * r + v], product);
        own[2 * r + v] = fmaf(scale, product, own[2 * r + v]);
      }
    }
  }
#pragma unroll
  for (int k = 0; k < 4; k++) sums[4 * block + k] = fmaf(steps[k % 2], own[k], sums[4 * block + k]);
}

template <class T>
DEVICE void meet_codes(const CodeStage<T> &stage, const char *vector, int padded, int step, int lane,
                       float (&sums)[CodeShape<T>::sums]) {
#pragma unroll
  for (int chunk = 0; chunk < 2; chunk++) {
    if ((2 * step + chunk) * CodeShape<T>::chunk >= padded) break;
    UnitVector<T> x;
    read_unit(x, vector, arranged_width(padded), 8 * step + 4 * chunk + lane % 4);
    // A lane's sums are two rows' with two vectors.
    const float steps[2] = {__shfl_sync(all_lanes, x.step, lane % 4 * 8),
                            __shfl_sync(all_lanes, x.step, lane % 4 * 8 + 4)};
#pragma unroll
    for (int block = 0; block < 2; block++)
      meet_chunk(stage, chunk, block, x, steps, step, padded, lane, sums);
  }
}
DEVICE void meet_stage(const Stage<i4> &stage, const char *vector, int padded, int step, int lane,
                       float (&sums)[8]) {
  meet_codes(stage, vector, padded, step, lane, sums);
}
DEVICE void meet_stage(const Stage<i8> &stage, const char *vector, int padded, int step, int lane,
                       float (&sums)[8]) {
  meet_codes(stage, vector, padded, step, lane, sums);
}
#endif
