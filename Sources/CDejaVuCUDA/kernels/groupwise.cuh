// Rows of 4- or 8-bit codes, `[codes][scales][zeros]` as `GroupwiseFormat` says, and what meets them.
//
// CODE_GROUP and CODE_ZEROS say how many columns share a scale and whether a group has a zero of its
// own; without them there are no such kernels. 16 bytes of codes are a unit: columns 16b + 4a + d of
// a half of 64, with b and d in 0..3; in 4 bits those of both halves of a block of 128, the first one's
// in the low nibbles.

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

/// Which of a unit's groups word `b` of a half belongs to.
DEVICE int word_group(int half, int b) {
  return CODE_GROUP == 128 ? 0 : CODE_GROUP == 64 ? half : 2 * half + b / 2;
}

#ifndef DEJAVU_EMULATED
/// Asks for whole pieces of 16 bytes that will be read soon, on cards that overlap launches.
DEVICE void fetch_pieces(const void *from, u32 bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global" POLICY " [%0], %1" BY("%2") ";" ::"l"(from), "r"(bytes),
               "l"((u64)leaves_first)
               : "memory");
#endif
}
#endif

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

// A vector that meets codes is rounded to 16 bits, two signed bytes, with a step for 128 columns: of each
// half of a block `[high bytes][low bytes]` in the order of a unit's codes, and behind all blocks
// `[float steps]`.

DEVICE int coded_vector_pieces(int width) {
  int wide = arranged_width(width);
  return wide / 8 + (wide / 128 + 3) / 4;
}
template <> struct Vector<i4> {
  DEVICE_MEMBER static int pieces(int width) { return coded_vector_pieces(width); }
};
template <> struct Vector<i8> : Vector<i4> {};

// Products by tensor cores -----------------------------------------------------------------------

// 64 bytes of a row are a chunk, the units of four lanes. 16 chunks are one side of a product: lane l has
// of chunks l / 4 and l / 4 + 8 unit l % 4. The other side are bytes of up to four vectors: columns 2v
// and 2v + 1 are vector v's high and low ones, and lane l has those of column l / 4.

/// Columns of a chunk, and the scales that it meets in its row.
template <class T> struct Chunk {
  enum { columns = 512 / Coding<T>::bits, words = (Coding<T>::groups + 1) / 2 };
  DEVICE_MEMBER static int count(int padded) { return padded / columns; }
};

/// What a lane brings of a vector to a chunk.
template <class T> struct UnitVector { Quad halves[Coding<T>::halves]; };

template <class T> DEVICE void read_unit(UnitVector<T> &x, const void *vector, int chunk, int lane) {
  const Quad *from = (const Quad *)vector + 8 * Coding<T>::halves * chunk + lane % 8;
#pragma unroll
  for (int h = 0; h < Coding<T>::halves; h++) x.halves[h] = from[8 * h];
}

/// What one unit of a vector's bytes stands for in a chunk.
template <class T> DEVICE float unit_step(const void *vector, int padded, int chunk) {
  return ((const float *)((const char *)vector + 2 * arranged_width(padded)))[chunk * Coding<T>::halves / 2];
}

/// Integer products of two chunks' codes with a vector over group `group` of the chunks; `ones` takes the
/// sums of the vector alone.
template <class T, bool ones>
DEVICE void multiply_group(const Quad (&chunks)[2], const UnitVector<T> &x, int group, int (&total)[2]) {
  const int each = 2 * Coding<T>::halves / Coding<T>::groups;
  int sums[4] = {0, 0, 0, 0};
#pragma unroll
  for (int m = group * each; m < (group + 1) * each; m++) {
    int h = m / 2, b = m % 2 * 2;
    u32 codes[4];
#pragma unroll
    for (int r = 0; r < 4; r++)
      codes[r] = ones ? 0x01010101u : centred<T>(chunks[r % 2].w[b + r / 2], h);
    multiply_codes(sums, codes, x.halves[h].w[b], x.halves[h].w[b + 1]);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) total[r] = 256 * sums[2 * r] + sums[2 * r + 1];
}

/// Scales of a chunk as they are stored, and twice what zeros lie below the middle.
template <class T> struct ChunkScales {
  u32 words[Chunk<T>::words];
  float offsets[CODE_ZEROS ? Coding<T>::groups : 1];
};

/// Adds two chunks' products with a vector to `sums`, in units of `code_unit` and of the vector's step.
template <class T>
DEVICE void meet_chunks(const Quad (&chunks)[2], const ChunkScales<T> (&scales)[2], const UnitVector<T> &x,
                        float (&sums)[2]) {
#pragma unroll
  for (int g = 0; g < Coding<T>::groups; g++) {
    int total[2], all[2];
    multiply_group<T, false>(chunks, x, g, total);
    if (Offset<T>::wanted) multiply_group<T, true>(chunks, x, g, all);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float product = (float)total[r];
      if (Offset<T>::wanted) {
        float offset = CODE_ZEROS ? scales[r].offsets[g] : zero_offset((const T *)0, 0, 0);
        product = fmaf(0.5f / code_unit<T>() * offset, (float)all[r], product);
      }
      float scale = widen_f16((u16)(scales[r].words[g / 2] >> (g % 2 * 16)));
      sums[r] = fmaf(scale, product, sums[r]);
    }
  }
}

/// Makes one kernel per format of weights.
#define FOR_CODES(threads, blocks, name, arguments) \
  KERNEL(threads, blocks) name##_i4(const GRID_CONSTANT arguments a) { name<i4>(a); } \
  KERNEL(threads, blocks) name##_i8(const GRID_CONSTANT arguments a) { name<i8>(a); }
#else
#define FOR_CODES(threads, blocks, name, arguments)
#endif

#define FOR_ALL_WEIGHTS(threads, blocks, name, arguments) \
  FOR_WEIGHTS(threads, blocks, name, arguments) \
  FOR_CODES(threads, blocks, name, arguments)
