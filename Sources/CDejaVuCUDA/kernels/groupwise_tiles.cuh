// Tiles of rows of codes for tensor cores: 16 rows, eight chunks of each in a step. Lanes ask for what they
// bring to a product themselves, so that nothing but inputs passes through shared memory.
#ifdef CODE_GROUP

enum { tile_chunks = CODE_ZEROS ? 2 : CODE_GROUP == 32 ? 4 : 8 };

/// Columns of a step, and groups and bytes of scales that a row has for it.
template <class T> struct CodeShape {
  enum {
    warps = dv_code_tile_warps,
    pairs = 8,
    rows = 16,
    positions = 4,
    columns = tile_chunks * Chunk<T>::columns,
    sums = 2,
    buffers = 2,
    stage_bytes = 0,
    groups = columns / CODE_GROUP,
    scale_bytes = groups == 1 ? 4 : 2 * groups
  };
  /// Lanes that bring one position's input: high and low bytes.
  enum { lanes = 8 };
  DEVICE_MEMBER static int vector_bytes(int width) { return Vector<T>::pieces(width) * 16; }
  DEVICE_MEMBER static int row_bytes(int padded) { return code_bytes(padded, Coding<T>::bits); }
  DEVICE_MEMBER static float unit() { return code_unit<T>(); }
};
template <> struct TileShape<i4> : CodeShape<i4> {};
template <> struct TileShape<i8> : CodeShape<i8> {};

/// What a lane has on its way: of a pair, rows l / 4 and l / 4 + 8, its unit of every chunk, and scales.
template <class T> struct CodeHeld {
  Quad quads[tile_chunks][2];
  u32 scales[2][CodeShape<T>::scale_bytes / 4];
  float offsets[2][CODE_ZEROS ? CodeShape<T>::groups : 1];
};
template <> struct Held<i4> : CodeHeld<i4> {};
template <> struct Held<i8> : CodeHeld<i8> {};

struct CodeRows {
  const char *base;
  int rows[2];
};
template <> struct TileRows<i4> : CodeRows {};
template <> struct TileRows<i8> : CodeRows {};

template <class T>
DEVICE void place_pair(const dv_project_arguments &a, TileRows<T> &own, const Item &item, int last,
                       int lane) {
  RowPair pair = pair_rows(a, item, least(item.place * TileShape<T>::pairs + lane / 4, last));
  own.base = (const char *)row_of<T>(a, pair_rows(a, item, 0));
  own.rows[0] = pair.lane * a.row_stride;
  own.rows[1] = (pair.lane + pair.apart) * a.row_stride;
}
DEVICE void place_rows(const dv_project_arguments &a, TileRows<i4> &own, const Item &item, int last,
                       int lane) {
  place_pair(a, own, item, last, lane);
}
DEVICE void place_rows(const dv_project_arguments &a, TileRows<i8> &own, const Item &item, int last,
                       int lane) {
  place_pair(a, own, item, last, lane);
}

/// Asks for a row's scales of a step, and for what its zeros lie below the middle.
template <class T>
DEVICE void ask_scales(CodeHeld<T> &held, const char *row, int r, int step, int padded) {
  const int groups = CodeShape<T>::groups, bytes = CodeShape<T>::scale_bytes;
  const char *scales = row + code_bytes(padded, Coding<T>::bits);
  int all = 2 * row_groups(padded), from = 2 * groups * step;
#pragma unroll
  for (int k = 0; k < bytes / 16; k++)
    if (from + 16 * k < all) {
      Quad quad = stream(scales + from + 16 * k);
#pragma unroll
      for (int w = 0; w < 4; w++) held.scales[r][4 * k + w] = quad.w[w];
    }
#pragma unroll
  for (int k = bytes / 16 * 4; k < bytes / 4 && groups > 1; k++)
    if (from + 4 * k < all) held.scales[r][k] = stream_word(scales + from + 4 * k);
  if (groups == 1) held.scales[r][0] = stream_half((const f16 *)(scales + from)).bits;
#pragma unroll
  for (int g = 0; g < groups && CODE_ZEROS; g++)
    held.offsets[r][g] = zero_offset((const T *)row, padded, least(groups * step + g, all / 2 - 1));
}

template <class T>
DEVICE void ask_codes(CodeHeld<T> &held, const CodeRows &own, int step, int padded, int lane) {
  int at_step = 64 * tile_chunks * step + lane % 4 * 16, bytes = code_bytes(padded, Coding<T>::bits);
#pragma unroll
  for (int c = 0; c < tile_chunks; c++)
#pragma unroll
    for (int r = 0; r < 2; r++)
      if (64 * tile_chunks * step + 64 * c < bytes)
        held.quads[c][r] = stream(own.base + own.rows[r] + at_step + 64 * c);
#pragma unroll
  for (int r = 0; r < 2; r++) ask_scales(held, own.base + own.rows[r], r, step, padded);
}
DEVICE void ask_held(Held<i4> &held, const TileRows<i4> &own, int step, int padded, int lane) {
  ask_codes(held, own, step, padded, lane);
}
DEVICE void ask_held(Held<i8> &held, const TileRows<i8> &own, int step, int padded, int lane) {
  ask_codes(held, own, step, padded, lane);
}

/// What a row's chunk has of its step's scales and zeros.
template <class T> DEVICE ChunkScales<T> chunk_scales(const CodeHeld<T> &held, int r, int chunk) {
  const int first = chunk * Chunk<T>::columns / CODE_GROUP;
  ChunkScales<T> own;
#pragma unroll
  for (int k = 0; k < Chunk<T>::words; k++) own.words[k] = held.scales[r][first / 2 + k];
  if (Coding<T>::groups == 1) own.words[0] >>= first % 2 * 16;
#pragma unroll
  for (int g = 0; g < Coding<T>::groups && CODE_ZEROS; g++) own.offsets[g] = held.offsets[r][first + g];
  return own;
}

/// Adds a step's products, from where lanes have asked for it.
template <class T>
DEVICE void meet_held(const Held<T> &held, const char *vector, int padded, int step, int lane,
                       float (&sums)[2]) {
#pragma unroll
  for (int c = 0; c < tile_chunks; c++) {
    int chunk = tile_chunks * step + c;
    if (chunk >= Chunk<T>::count(padded)) break;
    UnitVector<T> x;
    read_unit(x, vector, chunk, lane);
    // A lane's sums are those of position l % 4.
    float own = __shfl_sync(all_lanes, unit_step<T>(vector, padded, chunk), lane % 4 * 8);
    const ChunkScales<T> scales[2] = {chunk_scales<T>(held, 0, c),
                                      chunk_scales<T>(held, 1, c)};
    float products[2] = {0, 0};
    meet_chunks(held.quads[c], scales, x, products);
#pragma unroll
    for (int r = 0; r < 2; r++) sums[r] = fmaf(own, products[r], sums[r]);
  }
}
#endif
