// Rows of 4- or 8-bit codes, `[codes][scales][zeros]` as `GroupwiseFormat` says, and what meets them.
//
// CODE_GROUP and CODE_ZEROS say how many columns share a scale and whether a group has a zero of its
// own; without them there are no such kernels. 16 bytes of codes are a unit: columns 16b + 4a + d of
// a half of 64, with b and d in 0..3; in 4 bits those of both halves of a block of 128, the first one's
// in the low nibbles.

/// What a lane has on its way of a row.
template <class T> struct Asked : Pieces {};
/// 16-byte pieces of a vector that such weights meet.
template <class T> struct Vector {
  DEVICE_MEMBER static int pieces(int width) { return arranged_width(width) / 4; }
};
/// One element of a row.
template <class T> DEVICE float element(const T *row, int column, int) { return widen(row[column]); }

#ifdef CODE_GROUP

/// Blocks that a multiprocessor holds: zeros and small groups take more registers.
enum { code_blocks = CODE_ZEROS || CODE_GROUP == 32 ? 1 : 2 };

/// One byte of a row.
struct i4 { unsigned char byte; };
struct i8 { unsigned char byte; };

/// Bits, halves of a block in a unit, groups that a unit meets, and twice the zero of symmetric codes.
template <class T> struct Coding { enum { bits = 4, halves = 2, groups = 128 / CODE_GROUP, middle = 15 }; };
template <> struct Coding<i8> {
  enum { bits = 8, halves = 1, groups = CODE_GROUP == 32 ? 2 : 1, middle = 255 };
};
/// Whether sums of a vector are wanted beside products: codes are centred exactly in 4 bits only.
template <class T> struct Offset { enum { wanted = CODE_ZEROS || Coding<T>::bits == 8 }; };

DEVICE int code_bytes(int padded, int bits) { return padded / 8 * bits; }
DEVICE int row_groups(int padded) { return padded / CODE_GROUP; }

/// The block, the half and the first group of a unit.
template <class T> DEVICE int unit_block(int unit) { return unit / (Coding<T>::bits == 4 ? 4 : 8); }
template <class T> DEVICE int unit_half(int unit) { return Coding<T>::bits == 4 ? 0 : unit / 4 % 2; }
template <class T> DEVICE int first_group(int unit) {
  if (Coding<T>::bits == 8 && CODE_GROUP == 128) return unit / 8;
  return unit / 4 * Coding<T>::groups;
}
/// Which of a unit's groups word `b` of a half belongs to.
DEVICE int word_group(int half, int b) {
  return CODE_GROUP == 128 ? 0 : CODE_GROUP == 64 ? half : 2 * half + b / 2;
}

/// The high nibbles of a word, in a register: an instruction takes one constant, and the compiler would
/// bring a second one anew for each.
DEVICE u32 high_nibbles() { return 0xf0f0f0f0u | gridDim.z >> 30; }

/// Four codes less their middle: 16 (code − 7.5) of a half of 4-bit codes, code − 128 of 8-bit ones.
template <class T> DEVICE u32 centred(u32 word, int half) {
  if (Coding<T>::bits == 8) return word ^ 0x80808080u;
  return ((half ? word : word << 4) & high_nibbles()) ^ 0x88888888u;
}
/// What one unit of a centred code is worth.
template <class T> DEVICE float code_unit() { return Coding<T>::bits == 4 ? 1.0f / 16 : 1.0f; }

/// Twice what a code's zero lies below the middle that `centred` takes.
template <class T> DEVICE float zero_offset(const T *row, int padded, int group) {
  const int centre = Coding<T>::bits == 4 ? 15 : 256;
  if (!CODE_ZEROS) return centre - Coding<T>::middle;
  const T *zeros = row + code_bytes(padded, Coding<T>::bits) + 2 * row_groups(padded);
  int doubled = Coding<T>::bits == 8 ? ((const u16 *)zeros)[group] : zeros[group].byte;
  return centre - doubled;
}

DEVICE float row_scale(const void *row, int bytes, int group) {
  return widen(stream_half((const f16 *)((const char *)row + bytes) + group));
}

/// One element of a row.
template <class T> DEVICE float coded_element(const T *row, int column, int columns) {
  int c = column % 128, padded = (columns + 127) / 128 * 128, bits = Coding<T>::bits;
  int place = c % 16 / 4 * 16 + c % 64 / 16 * 4 + c % 4, at_block = column / 128 * 16 * bits;
  int code = bits == 8 ? row[at_block + c / 64 * 64 + place].byte
                       : row[at_block + place].byte >> (c / 64 * 4) & 15;
  float scale = row_scale(row, code_bytes(padded, bits), column / CODE_GROUP);
  float offset = zero_offset(row, padded, column / CODE_GROUP);
  return (code - (bits == 4 ? 7.5f : 128.0f) + 0.5f * offset) * scale;
}
DEVICE float element(const i4 *row, int column, int columns) {
  return coded_element(row, column, columns);
}
DEVICE float element(const i8 *row, int column, int columns) {
  return coded_element(row, column, columns);
}

// Vectors ----------------------------------------------------------------------------------------

// A vector that meets codes is rounded to 16 bits, two signed bytes, with a step for 128 columns:
// `[high bytes of first halves][of second halves][low bytes of both][float steps]`, each half in the
// order of a unit's codes.

DEVICE int coded_vector_pieces(int width) {
  int wide = arranged_width(width);
  return wide / 8 + (wide / 128 + 3) / 4;
}
template <> struct Vector<i4> {
  DEVICE_MEMBER static int pieces(int width) { return coded_vector_pieces(width); }
};
template <> struct Vector<i8> : Vector<i4> {};

/// What of a vector meets a unit.
template <class T> struct UnitVector {
  Quad high[Coding<T>::halves], low[Coding<T>::halves];
  float step;
};

template <class T>
DEVICE void read_unit(UnitVector<T> &x, const void *vector, int wide, int unit) {
  int block = unit_block<T>(unit);
  const char *high = (const char *)vector + (4 * block + unit % 4) * 16 + unit_half<T>(unit) * wide / 2;
#pragma unroll
  for (int h = 0; h < Coding<T>::halves; h++) {
    x.high[h] = *(const Quad *)(high + h * wide / 2);
    x.low[h] = *(const Quad *)(high + wide + h * wide / 2);
  }
  x.step = ((const float *)((const char *)vector + 2 * wide))[block];
}

// Products ---------------------------------------------------------------------------------------

/// Units of a row that a lane has on their way.
enum { code_pieces = 6, pair_pieces = 6 };
template <class T, int count> struct CodePieces {
  Quad quads[count];
  u32 scales[count][(Coding<T>::groups + 1) / 2];
  float offsets[count][Coding<T>::groups];
};
template <> struct Asked<i4> : CodePieces<i4, code_pieces> {};
template <> struct Asked<i8> : CodePieces<i8, code_pieces> {};

/// Asks for one unit; zeros and scales of zero behind the row's end.
template <class T, int count>
DEVICE void ask_unit(CodePieces<T, count> &pieces, int j, const T *row, int unit, int padded) {
  const int bits = Coding<T>::bits, words = (Coding<T>::groups + 1) / 2;
  Quad &quad = pieces.quads[j];
  quad.w[0] = quad.w[1] = quad.w[2] = quad.w[3] = 0;
#pragma unroll
  for (int k = 0; k < words; k++) pieces.scales[j][k] = 0;
#pragma unroll
  for (int k = 0; k < Coding<T>::groups && CODE_ZEROS; k++) pieces.offsets[j][k] = 0;
  if (unit >= padded * bits / 128) return;
  quad = stream(row + unit * 16);
  int group = first_group<T>(unit);
  const T *scales = row + code_bytes(padded, bits) + 2 * group;
  if (Coding<T>::groups == 1) pieces.scales[j][0] = stream_half((const f16 *)scales).bits;
#pragma unroll
  for (int k = 0; k < Coding<T>::groups / 2; k++)
    pieces.scales[j][k] = stream_word(scales + 4 * k);
  if (!CODE_ZEROS) return;
#pragma unroll
  for (int k = 0; k < Coding<T>::groups; k++)
    pieces.offsets[j][k] = zero_offset(row, padded, group + k);
}

/// Σ (code − zero) · scale · x over a unit, in units of `code_unit`.
template <class T, int count>
DEVICE float unit_dot(const CodePieces<T, count> &pieces, int j, const UnitVector<T> &x) {
  const int groups = Coding<T>::groups;
  int high[groups], low[groups], all[groups];
#pragma unroll
  for (int g = 0; g < groups; g++) high[g] = low[g] = all[g] = 0;
#pragma unroll
  for (int h = 0; h < Coding<T>::halves; h++)
#pragma unroll
    for (int b = 0; b < 4; b++) {
      int g = word_group(h, b) % groups;
      u32 codes = centred<T>(pieces.quads[j].w[b], h);
      high[g] = dot4s(codes, x.high[h].w[b], high[g]);
      low[g] = dot4s(codes, x.low[h].w[b], low[g]);
      if (!Offset<T>::wanted) continue;
      all[g] = dot4s(0x01010101u, x.low[h].w[b], all[g]);
      all[g] += 256 * dot4s(0x01010101u, x.high[h].w[b], 0);
    }
  float sum = 0;
#pragma unroll
  for (int g = 0; g < groups; g++) {
    float total = (float)(256 * high[g] + low[g]);
    if (Offset<T>::wanted) {
      float offset = CODE_ZEROS ? pieces.offsets[j][g] : 1.0f;
      total = fmaf(0.5f / code_unit<T>() * offset, (float)all[g], total);
    }
    sum = fmaf(widen_f16((u16)(pieces.scales[j][g / 2] >> (g % 2 * 16))), total, sum);
  }
  return sum * x.step;
}

template <class T>
DEVICE void ask_row(CodePieces<T, code_pieces> &pieces, const T *row, int from, int padded, int lane) {
#pragma unroll
  for (int j = 0; j < code_pieces; j++) ask_unit(pieces, j, row, from + 32 * j + lane, padded);
}

/// One lane's share of `row · x`, whose first units were asked for.
template <class T>
DEVICE float row_dot(CodePieces<T, code_pieces> &pieces, const T *row, const float *x, int padded, int lane) {
  int units = padded * Coding<T>::bits / 128, wide = arranged_width(padded);
  float sum = 0;
#pragma unroll 1
  for (int from = 0; from < units; from += 32 * code_pieces) {
#pragma unroll
    for (int j = 0; j < code_pieces; j++) {
      if (from + 32 * j >= units) break;
      UnitVector<T> own;
      read_unit(own, x, wide, least(from + 32 * j + lane, units - 1));
      sum += unit_dot(pieces, j, own);
    }
    if (from + 32 * code_pieces < units) ask_row(pieces, row, from + 32 * code_pieces, padded, lane);
  }
  return sum * code_unit<T>();
}

/// Makes one kernel per format of weights.
#define FOR_CODES(threads, blocks, name, arguments) \
  KERNEL(threads, blocks) name##_i4(arguments a) { name<i4>(a); } \
  KERNEL(threads, blocks) name##_i8(arguments a) { name<i8>(a); }
#else
#define FOR_CODES(threads, blocks, name, arguments)
#endif

#define FOR_ALL_WEIGHTS(threads, blocks, name, arguments) \
  FOR_WEIGHTS(threads, blocks, name, arguments) \
  FOR_CODES(threads, blocks, name, arguments)
