// Products of codes with numbers of 16 bits as two bytes each: VPDPBUSD, which multiplies unsigned
// bytes by signed ones. q = 256 · high + low, both in −128...127. Of narrow numbers `high` is zero and
// left out, which halves the products.

CODED_INLINE iv four_bytes(iv sum, iv codes, iv x) { return _mm512_dpbusd_epi32(sum, codes, x); }

/// High bytes, then low ones, in the order of the codes.
CODED_INLINE void store_rounded(char *q, const iv whole[4]) {
  iv first = ipack(whole[0], whole[1]), second = ipack(whole[2], whole[3]);
  iv low = _mm512_srai_epi16(_mm512_slli_epi16(first, 8), 8);
  iv low2 = _mm512_srai_epi16(_mm512_slli_epi16(second, 8), 8);
  iv high = _mm512_srai_epi16(_mm512_sub_epi16(first, low), 8);
  iv high2 = _mm512_srai_epi16(_mm512_sub_epi16(second, low2), 8);
  istore(q, _mm512_packs_epi16(high, high2));
  istore(q + CODE_BYTES, _mm512_packs_epi16(low, low2));
}

/// Adds the products of one block of `n` rows; scales are those of its groups.
CODED_INLINE void block_products(vf total[], const uint8_t *const rows[], size_t at,
                                 const char *q, const float (*scales)[CODED_RUN], size_t g,
                                 int32_t bits, int32_t group, int narrow, size_t n) {
  iv sum[CODED_QUAD];
#pragma clang loop unroll(full)
  for (size_t h = 0; h < 2; h++, q += 2 * CODE_BYTES) {
    iv high = narrow ? iset(0) : iload(q), low = iload(q + CODE_BYTES);
#pragma clang loop unroll(full)
    for (size_t r = 0; r < n; r++) {
      iv codes = placed_codes(rows[r] + at, bits, group, h, 0);
      int goes_on = group == 128 && h == 1;
      if (narrow) {
        sum[r] = four_bytes(goes_on ? sum[r] : iset(0), codes, low);
        continue;
      }
      iv upper = _mm512_slli_epi32(four_bytes(iset(0), codes, high), 8);
      iv both = four_bytes(upper, codes, low);
      sum[r] = goes_on ? _mm512_add_epi32(sum[r], both) : both;
    }
    if (group == 128 && h == 0) continue;
#pragma clang loop unroll(full)
    for (size_t r = 0; r < n; r++) {
      const float *scale = scales[r] + g + (group == 32 ? 2 * h : group == 64 ? h : 0);
      vf factor = vset(scale[0]);
      if (group == 32) {
        // Lanes 4i and 4i + 1 are of the first group, the others of the second.
        __m128 pair = _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)scale));
        factor = _mm512_permute_ps(_mm512_broadcast_f32x2(pair), 0x50);
      }
      total[r] = vfma(ifloat(sum[r]), factor, total[r]);
    }
  }
}

/// What a run of groups is multiplied by: high and low bytes of four rows' factors; their steps,
/// and those for codes of an upper half that are multiplied where they lie.
typedef struct {
  int32_t high[2][CODED_RUN], low[2][CODED_RUN];
  float steps[CODED_RUN], high_steps[CODED_RUN];
} coded_factors;

#define FACTOR_SHARE(bits) (1 / (float)(1 << (bits)))

CODED_INLINE void store_factors(coded_factors *f, size_t four, size_t i, const iv whole[4]) {
  iv high = iset(0), low = iset(0), byte = iset(0xFF);
  for (unsigned r = 4; r-- > 0;) {
    iv less = _mm512_srai_epi32(_mm512_slli_epi32(whole[r], 24), 24);
    iv more = _mm512_srai_epi32(_mm512_sub_epi32(whole[r], less), 8);
    low = ior(_mm512_slli_epi32(low, 8), iand(less, byte));
    high = ior(_mm512_slli_epi32(high, 8), iand(more, byte));
  }
  istore(f->high[four] + i, high);
  istore(f->low[four] + i, low);
}

CODED_INLINE void load_factors(iv high[2], iv low[2], const coded_factors *f, size_t g) {
  for (size_t four = 0; four < 2; four++)
    high[four] = iset(f->high[four][g]), low[four] = iset(f->low[four][g]);
}

/// Σ_r q_r · code_r over `fours` times four rows, the codes being half h of each byte, `bits` wide;
/// 2^bits times it for the upper half.
CODED_INLINE iv factor_products(const iv t[2], size_t fours, int32_t bits, size_t h, int narrow,
                                const iv high[2], const iv low[2]) {
  int32_t mask = ((1 << bits) - 1) << (bits * (int32_t)h);
  iv codes[2], sum = iset(0);
#pragma clang loop unroll(full)
  for (size_t four = 0; four < fours; four++) {
    codes[four] = bits == 8 ? t[four] : iand(t[four], iset(mask * 0x01010101));
    if (!narrow) sum = four_bytes(sum, codes[four], high[four]);
  }
  if (!narrow) sum = _mm512_slli_epi32(sum, 8);
#pragma clang loop unroll(full)
  for (size_t four = 0; four < fours; four++) sum = four_bytes(sum, codes[four], low[four]);
  return sum;
}
