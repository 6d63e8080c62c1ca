// Products of codes with numbers of 16 bits as words: any instruction set. Narrow numbers are words
// too, and no faster.

/// Numbers of one part of half a block, in the order in which its codes are unpacked.
CODED_INLINE void store_rounded(char *q, const iv whole[4]) {
  istore(q, ipack(whole[0], whole[1]));
  istore(q + CODE_BYTES, ipack(whole[2], whole[3]));
}

/// Adds the products of one block of `n` rows; scales are those of its groups.
CODED_INLINE void block_products(vf total[], const uint8_t *const rows[], size_t at,
                                 const char *q, const float (*scales)[CODED_RUN], size_t g,
                                 int32_t bits, int32_t group, int narrow, size_t n) {
  (void)narrow;
  iv low[CODED_QUAD], high[CODED_QUAD];
#pragma clang loop unroll(full)
  for (size_t h = 0; h < 2; h++) {
    if (group < 128 || h == 0)
#pragma clang loop unroll(full)
      for (size_t r = 0; r < n; r++) low[r] = high[r] = iset(0);
#pragma clang loop unroll(full)
    for (size_t part = 0; part < CODE_PARTS; part++, q += 2 * CODE_BYTES) {
      iv x0 = iload(q), x1 = iload(q + CODE_BYTES);
#pragma clang loop unroll(full)
      for (size_t r = 0; r < n; r++) {
        iv codes = placed_codes(rows[r] + at, bits, group, h, part);
        low[r] = imadd(low[r], zip8_low(codes, iset(0)), x0);
        if (group == 32) high[r] = imadd(high[r], zip8_high(codes, iset(0)), x1);
        else low[r] = imadd(low[r], zip8_high(codes, iset(0)), x1);
      }
    }
    if (group == 128 && h == 0) continue;
#pragma clang loop unroll(full)
    for (size_t r = 0; r < n; r++) {
      const float *scale = scales[r] + g + (group == 32 ? 2 * h : group == 64 ? h : 0);
      total[r] = vfma(ifloat(low[r]), vset(scale[0]), total[r]);
      if (group == 32) total[r] = vfma(ifloat(high[r]), vset(scale[1]), total[r]);
    }
  }
}

/// What a run of groups is multiplied by: words of the first and third row's factors, and of the
/// second's and fourth's; their steps, those for codes of an upper half too.
typedef struct {
  int32_t even[2][CODED_RUN], odd[2][CODED_RUN];
  float steps[CODED_RUN], high_steps[CODED_RUN];
} coded_factors;

#define FACTOR_SHARE(bits) 1

CODED_INLINE void store_factors(coded_factors *f, size_t four, size_t i, const iv whole[4]) {
  istore(f->even[four] + i, ijoin(whole[0], whole[2]));
  istore(f->odd[four] + i, ijoin(whole[1], whole[3]));
}

CODED_INLINE void load_factors(iv evens[2], iv odds[2], const coded_factors *f, size_t g) {
  for (size_t four = 0; four < 2; four++)
    evens[four] = iset(f->even[four][g]), odds[four] = iset(f->odd[four][g]);
}

/// Σ_r q_r · code_r over `fours` times four rows: the codes are half h of each byte, `bits` wide.
CODED_INLINE iv factor_products(const iv t[2], size_t fours, int32_t bits, size_t h, int narrow,
                                const iv evens[2], const iv odds[2]) {
  (void)narrow;
  iv mask = iset(((1 << bits) - 1) * 0x10001), sum = iset(0);
  int32_t shift = bits * (int32_t)h;
#pragma clang loop unroll(full)
  for (size_t four = 0; four < fours; four++) {
    iv even = iand(iright(t[four], (unsigned)shift), mask);
    iv odd = iright(t[four], (unsigned)(8 + shift));
    if (8 + shift + bits < 16) odd = iand(odd, mask);
    sum = ipairs(ipairs(sum, even, evens[four]), odd, odds[four]);
  }
  return sum;
}
