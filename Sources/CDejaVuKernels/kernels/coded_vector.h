// Coded rows in vectors. Beside the vector vocabulary it needs:
//
//   iv                        VW 32-bit lanes, or 4 · VW bytes
//   iright, ileft(a, n)       every 16 bits shifted; what crosses into a byte is masked away after
//   plane_of_two/one(p, part) a plane of 2 bits or 1, so that 4 or 2 low bits of each byte are the
//                             codes of both halves; `part` counts vectors of 64 places
//   zip8_*, zip16_*           bytes or words interleaved within each 128 bits, low or high half
//   imadd(s, a, b)            s plus products of words, pairs of them added in any order
//   ipairs(s, a, b)           the same with words 2i and 2i + 1 in lane i
//   iround, ifloat            to the nearest integer, ties to even; and back
//   ipack(a, b)               16-bit words of a and b, interleaved by four within 128 bits
//   ijoin(low, high)          low words of both, high's above
//   vdivide(a, b)             a / b
//   load_halves/bytes/words   up to `count` numbers as floats, zeros behind them

#define CODED_INLINE static inline __attribute__((always_inline))

enum { CODE_BYTES = 4 * VW, CODE_PARTS = 64 / CODE_BYTES };

/// Codes of one half of a block at places part · CODE_BYTES ..., a byte each.
CODED_INLINE iv half_codes(const uint8_t *block, int32_t bits, size_t h, size_t part) {
  const uint8_t *first = block + part * CODE_BYTES;
  unsigned half = (unsigned)h;
  iv high, low;
  switch (bits) {
    case 8: return iload(first + 64 * h);
    case 6:
      high = iand(h == 0 ? ileft(iload(first), 2) : iright(iload(first), 2), iset(0x3C3C3C3C));
      low = iand(iright(plane_of_two(block + 64, part), 2 * half), iset(0x03030303));
      return ior(high, low);
    case 4: return iand(iright(iload(first), 4 * half), iset(0x0F0F0F0F));
    case 3:
      high = plane_of_two(block, part);
      high = iand(h == 0 ? ileft(high, 1) : iright(high, 1), iset(0x06060606));
      low = iand(iright(plane_of_one(block + 32, part), half), iset(0x01010101));
      return ior(high, low);
    default: return iand(iright(plane_of_two(block, part), 2 * half), iset(0x03030303));
  }
}

/// Whether the codes of an upper half are multiplied where they lie, which saves the shift: where
/// they have a scale of their own, which makes up for it.
CODED_INLINE int stay_in_place(int32_t bits, int32_t group) { return bits == 4 && group < 128; }

/// `half_codes`, or 16 times them where they stay in place.
CODED_INLINE iv placed_codes(const uint8_t *block, int32_t bits, int32_t group, size_t h,
                             size_t part) {
  if (h == 0 || !stay_in_place(bits, group)) return half_codes(block, bits, h, part);
  return iand(iload(block + part * CODE_BYTES), iset((int32_t)0xF0F0F0F0));
}

/// Sixteen scales and zeros of a row from group g up, `count` of them real.
CODED_INLINE void load_groups(float scales[CODED_RUN], float zeros[CODED_RUN], const uint8_t *row,
                              const coded_shape *s, size_t g, size_t count) {
  const uint8_t *halves = row + s->code_bytes + 2 * g;
  const uint8_t *doubled = row + s->code_bytes + 2 * s->groups + s->zero_bytes * g;
  for (size_t i = 0; i < CODED_RUN; i += VW) {
    size_t left = count > i ? count - i : 0;
    vstore(scales + i, load_halves((const uint16_t *)(const void *)(halves + 2 * i), left));
    if (!s->has_zeros) continue;
    vf twice = s->zero_bytes == 1 ? load_bytes(doubled + i, left)
                                  : load_words(doubled + 2 * i, left);
    vstore(zeros + i, vmul(twice, vset(0.5f)));
  }
}

#ifdef CODED_VNNI
#include "coded_bytes.h"
#else
#include "coded_words.h"
#endif

// Rounding a vector ------------------------------------------------------------------------------

/// Rounds the 64 lanes of half a block, and sums each 16 of them.
CODED_INLINE void round_half(char *q, float sums[4], const float *x, const float inverse[4]) {
  for (size_t j = 0; j < 4; j++) sums[j] = 0;
  for (size_t part = 0; part < CODE_PARTS; part++) {
    iv whole[4];
    for (size_t j = 0; j < 4; j++) {
      vf rounded = vround(vmul(vload(x + 16 * j + part * VW), vset(inverse[j])));
      sums[j] += vsum(rounded);
      whole[j] = iround(rounded);
    }
    store_rounded(q + 2 * part * CODE_BYTES, whole);
  }
}

/// The step of one group: NaN where a lane is infinite or NaN, so that nothing hides it.
CODED_INLINE float step_of(const float *x, size_t n, float most, float *inverse) {
  vf highest = vzero(), spoilt = vzero();
  for (size_t i = 0; i < n; i += VW) {
    vf lane = vload(x + i);
    highest = vmax(highest, vmax(lane, vsub(vzero(), lane)));
    spoilt = vfma(lane, vzero(), spoilt);
  }
  float greatest = vmaxall(highest);
  // The reciprocal of anything smaller is infinite.
  if (!(greatest > 1e-33f)) greatest = 0;
  *inverse = greatest > 0 ? most / greatest : 0;
  return greatest / most + vsum(spoilt);
}

static void kernel_coded_round(void *out, const float *x, size_t d, int32_t format) {
  coded_shape s = coded_shape_of(format, d);
  coded_vector v = coded_vector_at(out, &s);
  float *steps = (float *)v.steps, *sums = (float *)v.sums, copy[CODED_BLOCK];
  size_t group = (size_t)s.group, first = 0;
  memset(steps, 0, coded_runs(&s) * sizeof(float));
  memset(sums, 0, coded_runs(&s) * sizeof(float));
  for (size_t b = 0; b < s.blocks; b++, first += CODED_BLOCK, x += CODED_BLOCK) {
    if (d - first < CODED_BLOCK) {
      memset(copy, 0, sizeof copy);
      memcpy(copy, x, (d - first) * sizeof(float));
      x = copy;
    }
    float inverse[8], parts[8];
    for (size_t i = 0; i < CODED_BLOCK; i += group) {
      steps[(first + i) / group] = step_of(x + i, group, coded_most(&s), inverse + i / 16);
      for (size_t k = 1; k < group / 16; k++) inverse[i / 16 + k] = inverse[i / 16];
    }
    char *q = (char *)v.q + 2 * first;
    round_half(q, parts, x, inverse);
    round_half(q + CODED_BLOCK, parts + 4, x + 64, inverse + 4);
    for (size_t k = 0; k < 8; k++) sums[(first + 16 * k) / group] += parts[k];
  }
  for (size_t g = 0; g < s.groups; g++) sums[g] *= -steps[g];
}

// Products ---------------------------------------------------------------------------------------

/// scale · step of each group of a run, and the zeros' share of the product in `total`.
CODED_INLINE vf scale_run(float scales[CODED_RUN], vf total, const uint8_t *row,
                          const coded_vector *x, const coded_shape *s, size_t g, size_t count) {
  float zeros[CODED_RUN];
  load_groups(scales, zeros, row, s, g, count);
  vf middle = vset(coded_middle(s));
  // Codes of an upper half that `stay_in_place` come multiplied by a power of two.
  static const float shares[2][CODED_RUN] = {
      {1, 1, 0.0625f, 0.0625f, 1, 1, 0.0625f, 0.0625f,
       1, 1, 0.0625f, 0.0625f, 1, 1, 0.0625f, 0.0625f},
      {1, 0.0625f, 1, 0.0625f, 1, 0.0625f, 1, 0.0625f,
       1, 0.0625f, 1, 0.0625f, 1, 0.0625f, 1, 0.0625f}};
  for (size_t i = 0; i < CODED_RUN; i += VW) {
    vf scale = vload(scales + i), zero = s->has_zeros ? vload(zeros + i) : middle;
    total = vfma(vmul(scale, zero), vload(x->sums + g + i), total);
    scale = vmul(scale, vload(x->steps + g + i));
    if (stay_in_place(s->bits, s->group)) scale = vmul(scale, vload(shares[s->group == 64] + i));
    vstore(scales + i, scale);
  }
  return total;
}

/// y[r] = rows[r] · x for n rows. Every row's sum has an order of its own.
CODED_INLINE void dot_some(float y[], const uint8_t *const rows[], const coded_vector *x,
                           const coded_shape *s, coded_asks asks, int32_t bits, int32_t group,
                           int narrow, size_t n) {
  vf total[CODED_QUAD];
  float scales[CODED_QUAD][CODED_RUN];
  size_t per_block = (size_t)(CODED_BLOCK / group), run = CODED_RUN / per_block;
  size_t block_bytes = 16 * (size_t)bits;
  for (size_t r = 0; r < n; r++) total[r] = vzero();
  for (size_t b0 = 0; b0 < s->blocks; b0 += run) {
    size_t end = b0 + run < s->blocks ? b0 + run : s->blocks, g = b0 * per_block;
    for (size_t r = 0; r < n; r++)
      total[r] = scale_run(scales[r], total[r], rows[r], x, s, g, (end - b0) * per_block);
#pragma clang loop unroll(disable)
    for (size_t b = b0; b < end; b++) {
      ask_beside(&asks, b, block_bytes, n);
      block_products(total, rows, b * block_bytes, x->q + b * 2 * CODED_BLOCK,
                     (const float (*)[CODED_RUN])scales, (b - b0) * per_block, bits, group, narrow, n);
    }
  }
  ask_for_rest(&asks, s, n);
  for (size_t r = 0; r < n; r++) y[r] = vsum(total[r]);
}

// Sums of rows -----------------------------------------------------------------------------------

/// Factors of a run of groups, and what the zeros subtract.
CODED_INLINE void make_factors(coded_factors *f, float *offsets, const uint8_t *const rows[],
                               const float a[], size_t fours, const coded_shape *s, size_t g,
                               size_t count) {
  float scales[CODED_OCTET][CODED_RUN], zeros[CODED_OCTET][CODED_RUN];
  size_t n = fours * CODED_QUAD;
  for (size_t r = 0; r < n; r++) {
    if (!s->shared) load_groups(scales[r], zeros[r], rows[r], s, g, count);
    else
      for (size_t i = 0; i < CODED_RUN; i++) scales[r][i] = zeros[r][i] = 1;
  }
  vf middle = vset(coded_middle(s)), most = vset(coded_most(s));
  for (size_t i = 0; i < CODED_RUN; i += VW) {
    vf factor[CODED_OCTET], greatest = vset(1e-33f), spoilt = vzero(), offset = vzero();
    for (size_t r = 0; r < n; r++) {
      factor[r] = vmul(vload(scales[r] + i), vset(a[r]));
      greatest = vmax(vmax(factor[r], vsub(vzero(), factor[r])), greatest);
      spoilt = vfma(factor[r], vzero(), spoilt);
    }
    vf inverse = vdivide(most, greatest);
    iv whole[CODED_OCTET];
    for (size_t r = 0; r < n; r++) {
      vf rounded = vround(vmul(factor[r], inverse));
      offset = vfma(rounded, s->has_zeros || s->shared ? vload(zeros[r] + i) : middle, offset);
      whole[r] = iround(rounded);
    }
    vf step = vadd(vmul(greatest, vset(1 / coded_most(s))), spoilt);
    vstore(f->steps + i, step);
    vstore(f->high_steps + i, vmul(step, vset(FACTOR_SHARE(s->bits))));
    vstore(offsets + i, vsub(vload(offsets + i), vmul(step, offset)));
    for (size_t four = 0; four < fours; four++)
      store_factors(f, four, i, whole + four * CODED_QUAD);
  }
}

/// Bytes of four rows so transposed that lane i of t[j] has those of one place: that of column
/// 16 · j + i of the part.
CODED_INLINE void transpose_codes(iv t[4], const iv v[4]) {
  iv low = zip8_low(v[0], v[1]), high = zip8_high(v[0], v[1]);
  iv low2 = zip8_low(v[2], v[3]), high2 = zip8_high(v[2], v[3]);
  t[0] = zip16_low(low, low2), t[1] = zip16_high(low, low2);
  t[2] = zip16_low(high, high2), t[3] = zip16_high(high, high2);
}

/// Codes of one part of a block, or of its half h, of `fours` times four rows, transposed: t[j] is
/// of columns 16 · j ... of the part. Codes of up to 4 bits are not yet taken apart, which halves
/// this work.
CODED_INLINE void gather_codes(iv t[4][2], const uint8_t *const rows[], size_t at, size_t fours,
                               int32_t bits, size_t h, size_t part) {
#pragma clang loop unroll(full)
  for (size_t four = 0; four < fours; four++) {
    iv v[4], wide[4];
#pragma clang loop unroll(full)
    for (size_t r = 0; r < 4; r++) {
      const uint8_t *block = rows[CODED_QUAD * four + r] + at;
      v[r] = bits == 4   ? iload(block + part * CODE_BYTES)
             : bits == 2 ? plane_of_two(block, part)
                         : half_codes(block, bits, h, part);
    }
    transpose_codes(wide, v);
#pragma clang loop unroll(full)
    for (size_t j = 0; j < 4; j++) t[j][four] = wide[j];
  }
}

/// One block of `fours` times four rows; `columns` of it exist.
CODED_INLINE void add_block(float *acc, const uint8_t *const rows[], size_t at, size_t columns,
                            const coded_factors *f, size_t g, size_t fours, int32_t bits,
                            int32_t group, int narrow) {
  int together = bits == 4 || bits == 2;
#pragma clang loop unroll(full)
  for (size_t part = 0; part < CODE_PARTS; part++) {
    iv t[4][2];
#pragma clang loop unroll(full)
    for (size_t h = 0; h < 2; h++) {
      if (!together || h == 0) gather_codes(t, rows, at, fours, bits, h, part);
      // What a group shares is loaded once: the compiler cannot know that sums lie elsewhere.
      iv first[2], second[2];
      vf step = vzero();
#pragma clang loop unroll(full)
      for (size_t j = 0; j < 4; j++) {
        size_t column = 64 * h + 16 * j + part * VW, of = g + (64 * h + 16 * j) / (size_t)group;
        if (j == 0 || (group == 32 && j == 2)) {
          load_factors(first, second, f, of);
          step = vset(together && h == 1 ? f->high_steps[of] : f->steps[of]);
        }
        if (column >= columns) continue;
        iv sum = factor_products(t[j], fours, together ? bits : 8, together ? h : 0, narrow,
                                 first, second);
        vstore(acc + column, vfma(ifloat(sum), step, vload(acc + column)));
      }
    }
  }
}

/// Adds a[r] · rows[r, c] of `fours` times four rows.
CODED_INLINE void add_some(coded_sum *sum, const uint8_t *const rows[], const float a[],
                           coded_asks asks, size_t fours, const coded_shape *s, int32_t bits,
                           int32_t group, int narrow) {
  coded_factors f;
  size_t per_block = (size_t)(CODED_BLOCK / group), run = CODED_RUN / per_block;
  size_t end = sum->end, last = (end + CODED_BLOCK - 1) / CODED_BLOCK;
  size_t block_bytes = 16 * (size_t)bits, n = fours * CODED_QUAD;
  ask_for_rest(&asks, s, n);
  for (size_t b0 = sum->first / CODED_BLOCK; b0 < last; b0 += run) {
    size_t stop = b0 + run < last ? b0 + run : last, g = b0 * per_block;
    // Rows that share scales have the same factor in every group: one run of them is made.
    if (!s->shared)
      make_factors(&f, sum->offsets + g, rows, a, fours, s, g, (stop - b0) * per_block);
    else if (b0 == sum->first / CODED_BLOCK)
      make_factors(&f, sum->offsets, rows, a, fours, s, 0, 0);
    size_t whole = end / CODED_BLOCK < stop ? end / CODED_BLOCK : stop, b = b0;
#pragma clang loop unroll(disable)
    for (; b < whole; b++) {
      ask_beside(&asks, b, block_bytes, n);
      add_block(sum->acc + b * CODED_BLOCK, rows, b * block_bytes, CODED_BLOCK, &f,
                (b - b0) * per_block, fours, bits, group, narrow);
    }
    for (; b < stop; b++)
      add_block(sum->acc + b * CODED_BLOCK, rows, b * block_bytes, end - b * CODED_BLOCK, &f,
                (b - b0) * per_block, fours, bits, group, narrow);
  }
}

// Values -----------------------------------------------------------------------------------------

/// Columns first..<end of a row as floats, exactly; all are multiples of VW.
CODED_INLINE void widen_some(float *out, const uint8_t *row, const coded_shape *s, size_t first,
                             size_t end, int32_t bits) {
  for (size_t b = first / CODED_BLOCK; b * CODED_BLOCK < end; b++) {
    float scales[CODED_RUN], zeros[CODED_RUN];
    size_t per_block = (size_t)(CODED_BLOCK / s->group), start = b * CODED_BLOCK;
    if (!s->shared) load_groups(scales, zeros, row, s, b * per_block, per_block);
    for (size_t h = 0; h < 2; h++) {
      if (start + 64 * h + 64 <= first || start + 64 * h >= end) continue;
      for (size_t part = 0; part < CODE_PARTS; part++) {
        iv codes = half_codes(row + b * 16 * (size_t)bits, bits, h, part), nothing = iset(0);
        iv low = zip8_low(codes, nothing), high = zip8_high(codes, nothing);
        iv wide[4] = {zip16_low(low, nothing), zip16_high(low, nothing),
                      zip16_low(high, nothing), zip16_high(high, nothing)};
        for (size_t j = 0; j < 4; j++) {
          size_t c = 64 * h + 16 * j + part * VW, g = c / (size_t)s->group;
          if (start + c < first || start + c >= end) continue;
          vf code = ifloat(wide[j]);
          if (!s->shared) {
            vf zero = vset(s->has_zeros ? zeros[g] : coded_middle(s));
            code = vmul(vsub(code, zero), vset(scales[g]));
          }
          vstore(out + (start + c - first), code);
        }
      }
    }
  }
}
