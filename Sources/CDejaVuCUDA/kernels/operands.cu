// What products by tensor cores read: activations in the weights' type, codes as halves; and what
// their results are looked over for.

/// Four neighbours to a thread, zeros behind the width. Grid: 1024 columns to a block, tokens.
template <class T> DEVICE void narrow_rows(const dv_narrow_arguments &a) {
  int t = blockIdx.y, i = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= a.to_stride) return;
  float x[4], gates[4];
  unpack(read_piece(at<float>(a.from) + (i64)t * a.from_stride, i, a.width), x, 0.0f);
  if (a.gates)
    unpack(read_piece(at<float>(a.gates) + (i64)t * a.from_stride, i, a.width), gates, 0.0f);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    if (a.gates) x[k] *= activated(gates[k], a.activation);
    else if (a.activation >= 0) x[k] = activated(x[k], a.activation);
  }
  Halves *to = (Halves *)(at<T>(a.to) + (i64)t * a.to_stride + i);
  *to = {{pair(x[0], x[1], T()), pair(x[2], x[3], T())}};
}
KERNEL(256, 1) narrow_rows_f16(dv_narrow_arguments a) { narrow_rows<f16>(a); }
KERNEL(256, 1) narrow_rows_bf16(dv_narrow_arguments a) { narrow_rows<bf16>(a); }

/// Sets the flag where a number is not finite.
KERNEL(256, 1) look_over(dv_look_arguments a) {
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < (i64)a.count && !(fabsf(at<float>(a.values)[i]) <= 3.4e38f)) *at<int>(a.flag) = 1;
}

#ifdef CODE_GROUP
/// The first column of a unit's block of 128, and which half of the block it has: in 4 bits it has both.
template <class T> DEVICE int unit_column(int unit) {
  return 128 * (unit / (Coding<T>::bits == 4 ? 4 : 8));
}
template <class T> DEVICE int unit_part(int unit) { return Coding<T>::bits == 4 ? 0 : unit / 4 % 2; }
/// Halves of a block that a unit has codes of.
template <class T> DEVICE constexpr int unit_parts() { return Coding<T>::bits == 4 ? 2 : 1; }

/// One of the codes of a unit, less half of the greatest, and its zero.
template <class T> DEVICE float centred_code(u32 word, int half, int d) {
  const int bits = Coding<T>::bits;
  int code = bits == 8 ? word >> (8 * d) & 255 : word >> (8 * d + 4 * half) & 15;
  return code - (bits == 4 ? 7.5f : 128.0f);
}

/// A unit of codes to a thread, row after row. Grid: 256 units to a block.
template <class T> DEVICE void decode_rows(const dv_decode_arguments &a) {
  u32 place = blockIdx.x * blockDim.x + threadIdx.x, units = a.padded * Coding<T>::bits / 128;
  u32 number = place / units;
  if (number >= (u32)a.row_count) return;
  int unit = place % units;
  const T *row = at<T>(a.rows) + (i64)number * a.row_stride;
  Quad quad = stream(row + unit * 16);
  int block = unit_column<T>(unit);
  f16 *to = at<f16>(a.to) + (i64)number * a.to_stride + block + unit % 4 * 4;
  float scale = 0, offset = 0;
#pragma unroll
  for (int h = 0; h < unit_parts<T>(); h++)
#pragma unroll
    for (int b = 0; b < 4; b++) {
      int half = unit_part<T>(unit) + h, column = 64 * half + 16 * b;
      int group = (block + column) / CODE_GROUP;
      if (column % CODE_GROUP == 0 || (h == 0 && b == 0)) {
        scale = row_scale(row, code_bytes(a.padded, Coding<T>::bits), group);
        offset = 0.5f * zero_offset(row, a.padded, group);
      }
      float x[4];
#pragma unroll
      for (int d = 0; d < 4; d++) x[d] = (centred_code<T>(quad.w[b], half, d) + offset) * scale;
      *(Halves *)(to + column) = {{pair(x[0], x[1], f16()), pair(x[2], x[3], f16())}};
    }
}
FOR_CODES(256, 1, decode_rows, dv_decode_arguments)
#endif
