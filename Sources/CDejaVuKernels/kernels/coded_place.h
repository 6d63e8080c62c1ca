// Where the codes of a row lie: the C side of `GroupwiseFormat`, without any vectors.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { CODED_BLOCK = 128 };

/// Byte and shift of a column's part of a code, within a plane of a block.
typedef struct {
  size_t byte;
  int32_t shift;
} coded_place;

/// The place of column c of a block in a plane of `bits` bits.
static inline coded_place coded_place_of(size_t c, int32_t bits) {
  size_t place = 16 * (c % 16 / 4) + 4 * (c % 64 / 16) + c % 4, width = 16 * (size_t)bits;
  if (bits == 8) return (coded_place){c / 64 * 64 + place, 0};
  int32_t shift = 2 * bits * (int32_t)(place / width) + bits * (int32_t)(c / 64);
  return (coded_place){place % width, shift};
}

/// Puts a code of 2, 4 or 8 bits into a row, whose bits of that column are zero.
static inline void put_code(uint8_t *row, size_t column, int32_t code, int32_t bits) {
  coded_place at = coded_place_of(column % CODED_BLOCK, bits);
  row[column / CODED_BLOCK * 16 * (size_t)bits + at.byte] |= (uint8_t)(code << at.shift);
}
