// Tiles of rows of codes for tensor cores: 16 rows, 256 bytes of each in a step.
#ifdef CODE_GROUP

/// Columns that 64 bytes of a row hold, and bytes that a row has of scales and of zeros for a step.
template <class T> struct CodeShape {
  enum {
    pairs = 8,
    rows = 16,
    pieces = 16,
    columns = 4 * 512 / Coding<T>::bits,
    chunk = columns / 4,
    scale_bytes = 2 * (columns / CODE_GROUP),
    zero_bytes = Coding<T>::bits / 4 * (columns / CODE_GROUP),
    zero_words = zero_bytes / 4 + 1
  };
  DEVICE_MEMBER static int vector_bytes(int width) { return Vector<T>::pieces(width) * 16; }
  DEVICE_MEMBER static int row_bytes(int padded) { return code_bytes(padded, Coding<T>::bits); }
  DEVICE_MEMBER static float unit() { return code_unit<T>(); }
};
template <> struct TileShape<i4> : CodeShape<i4> {};
template <> struct TileShape<i8> : CodeShape<i8> {};

/// Words around a step's zeros, where groups have any.
template <class T, bool has> struct StageZeros {};
template <class T> struct StageZeros<T, true> { u32 zeros[16][CodeShape<T>::zero_words]; };

template <class T> struct CodeStage : StageZeros<T, CODE_ZEROS> {
  Quad quads[tile_pieces * 32];
  alignas(16) unsigned char scales[16][CodeShape<T>::scale_bytes];
};
template <> struct Stage<i4> : CodeStage<i4> {};
template <> struct Stage<i8> : CodeStage<i8> {};

/// Besides, every lane asks for the scales of one row; two lanes share one.
struct CodeRows {
  const char *pieces[tile_pieces];
  const char *scales;
};
template <> struct TileRows<i4> : CodeRows {};
template <> struct TileRows<i8> : CodeRows {};

template <class T>
DEVICE void place_scales(const dv_project_arguments &a, CodeRows &own, const Item &item, int first,
                         int last, int lane) {
  RowPair pair = pair_rows(a, item, least(first + lane % 16 / 2, last));
  const T *row = row_of<T>(a, pair) + lane % 2 * pair.apart * a.row_stride;
  own.scales = (const char *)row + CodeShape<T>::row_bytes(a.padded_width);
}
DEVICE void place_more(const dv_project_arguments &a, TileRows<i4> &own, const Item &item, int first,
                       int last, int lane) {
  place_scales<i4>(a, own, item, first, last, lane);
}
DEVICE void place_more(const dv_project_arguments &a, TileRows<i8> &own, const Item &item, int first,
                       int last, int lane) {
  place_scales<i8>(a, own, item, first, last, lane);
}

/// What a lane has on its way of its row's scales, a half of them where there are two pieces, and of the
/// words around its zeros every other one: they begin anywhere.
template <class T> struct CodeHeld {
  Quad quads[tile_pieces];
  u32 scales[CodeShape<T>::scale_bytes < 16 ? CodeShape<T>::scale_bytes / 4 : 4];
  u32 zeros[CODE_ZEROS ? (CodeShape<T>::zero_words + 1) / 2 : 1];
};
template <> struct Held<i4> : CodeHeld<i4> {};
template <> struct Held<i8> : CodeHeld<i8> {};

template <class T>
DEVICE void ask_scales(CodeHeld<T> &held, const CodeRows &own, int step, int padded, int lane) {
  const int bytes = CodeShape<T>::scale_bytes, zero_bytes = CodeShape<T>::zero_bytes;
  int all = 2 * row_groups(padded), from = bytes * step, half = lane / 16;
  if (bytes < 16) {
#pragma unroll
    for (int k = 0; k < bytes / 4; k++) held.scales[k] = stream_word(own.scales + from + 4 * k);
  } else if (16 * half < bytes && from + 16 * half < all) {
    Quad quad = stream(own.scales + from + 16 * half);
#pragma unroll
    for (int k = 0; k < 4 && k < bytes / 4; k++) held.scales[k] = quad.w[k];
  }
  if (!CODE_ZEROS) return;
  int begin = all + zero_bytes * step, stop = all + Coding<T>::bits / 4 * row_groups(padded);
  int end = least(begin + zero_bytes, stop), place = (begin & ~3) + 4 * half;
#pragma unroll
  for (int k = 0; k < CodeShape<T>::zero_words; k += 2)
    if (place + 4 * k < end) held.zeros[k / 2] = stream_word(own.scales + place + 4 * k);
}
DEVICE void ask_more(Held<i4> &held, const TileRows<i4> &own, int step, int padded, int lane) {
  ask_scales(held, own, step, padded, lane);
}
DEVICE void ask_more(Held<i8> &held, const TileRows<i8> &own, int step, int padded, int lane) {
  ask_scales(held, own, step, padded, lane);
}

template <class T> DEVICE void put_scales(const CodeHeld<T> &held, CodeStage<T> &stage, int lane) {
  const int bytes = CodeShape<T>::scale_bytes;
  int row = lane % 16, half = lane / 16;
  u32 *to = (u32 *)(stage.scales[row] + 16 * half);
#pragma unroll
  for (int k = 0; k < 4 && k < bytes / 4; k++)
    if (16 * half < bytes) to[k] = held.scales[k];
  if constexpr (CODE_ZEROS) {
#pragma unroll
    for (int k = 0; k < CodeShape<T>::zero_words; k += 2)
      if (half + k < CodeShape<T>::zero_words) stage.zeros[row][half + k] = held.zeros[k / 2];
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

/// Adds 64 bytes of every row.
template <class T>
DEVICE void meet_chunk(const CodeStage<T> &stage, int chunk, const UnitVector<T> &x, int step,
                       int padded, int lane, float (&sums)[4]) {
  int row = lane / 4 * 2, place = 4 * chunk + lane % 4 ^ lane / 4 % 2 * 4;
  const Quad rows[2] = {stage.quads[16 * row + place], stage.quads[16 * row + 16 + place]};
  // A lane's sums are two rows' with two vectors.
  const float steps[2] = {__shfl_sync(all_lanes, x.step, lane % 4 * 8),
                          __shfl_sync(all_lanes, x.step, lane % 4 * 8 + 4)};
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
        sums[2 * r + v] = fmaf(scale * steps[v], product, sums[2 * r + v]);
      }
    }
  }
}

template <class T>
DEVICE void meet_codes(const CodeStage<T> &stage, const char *vector, int padded, int step, int lane,
                       float (&sums)[4]) {
#pragma unroll
  for (int chunk = 0; chunk < 4; chunk++) {
    if ((4 * step + chunk) * CodeShape<T>::chunk >= padded) break;
    UnitVector<T> x;
    read_unit(x, vector, arranged_width(padded), 16 * step + 4 * chunk + lane % 4);
    meet_chunk(stage, chunk, x, step, padded, lane, sums);
  }
}
DEVICE void meet_stage(const Stage<i4> &stage, const char *vector, int padded, int step, int lane,
                       float (&sums)[4]) {
  meet_codes(stage, vector, padded, step, lane, sums);
}
DEVICE void meet_stage(const Stage<i8> &stage, const char *vector, int padded, int step, int lane,
                       float (&sums)[4]) {
  meet_codes(stage, vector, padded, step, lane, sums);
}
#endif
