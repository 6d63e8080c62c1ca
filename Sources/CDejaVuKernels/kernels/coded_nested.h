// Coded rows in two halves, whose high one a chooser multiplies for every neuron.
//
// A symmetric weight is (code − (4^b − 1) / 2) · scale for 2b bits. With code = 2^b · high + low it is
//   (high − m) · 2^b · scale + (low − m) · scale,   m = (2^b − 1) / 2,
// exactly: two groupwise rows of b bits (groupwise.h). The chooser reads all high rows; those of the
// chosen neurons are still in the cache when their low ones come, and both are multiplied again with
// the vector and with what rounding it to 8 bits has left over, which makes 15 bits of it.

/// −(2^b − 1) / 2 · Σ q of each group, for both vectors, and zeros up to a whole vector.
typedef struct {
  float of[2][GROUPWISE_MAX_GROUPS + VW];
} nested_middles;

static void begin_nested(nested_middles *middles, const dejavu_nested *n) {
  size_t groups = n->d / GROUP;
  float middle = (float)((1 << n->bits) - 1) / 2;
  for (size_t v = 0; v < 2; v++)
    for (size_t g = 0; g < groups + VW; g++)
      middles->of[v][g] = g < groups ? -middle * n->x[v].group_sums[g] : 0;
}

/// Products of four whole rows; every row's sum has an order of its own.
CODED_INLINE void nested_products(float y[CODED_QUAD], const uint8_t *const high[CODED_QUAD],
                                  const uint8_t *const low[CODED_QUAD], const dejavu_nested *n,
                                  const nested_middles *middles, int32_t bits) {
  size_t bytes = n->d * (size_t)bits / 8;
  float of_high[CODED_QUAD], of_low[CODED_QUAD];
  for (size_t i = 0; i < CODED_QUAD; i++) y[i] = 0;
  for (size_t v = 0; v < 2; v++) {
    four_products(of_high, high, n->x[v].q, bytes, middles->of[v], bits);
    four_products(of_low, low, n->x[v].q, bytes, middles->of[v], bits);
    for (size_t i = 0; i < CODED_QUAD; i++) y[i] += n->x[v].step * (of_high[i] + of_low[i]);
  }
}

static void nested_quad(float y[CODED_QUAD], const uint8_t *const high[CODED_QUAD],
                        const uint8_t *const low[CODED_QUAD], const dejavu_nested *n,
                        const nested_middles *middles) {
  if (n->bits == 2) nested_products(y, high, low, n, middles, 2);
  else nested_products(y, high, low, n, middles, 4);
}

/// Puts a code of `bits` bits to lane `lane` of a groupwise row.
static inline void put_code(uint8_t *row, size_t lane, int32_t code, int32_t bits) {
  size_t bytes = GROUP * (size_t)bits / 8, i = lane % GROUP;
  row[lane / GROUP * bytes + i % bytes] |= (uint8_t)(code << (i / bytes * (size_t)bits));
}

static float kernel_coded_halves(void *high, void *low, const void *row, size_t d, size_t columns,
                                 int32_t format) {
  coded_shape s = coded_shape_of(format, d);
  int32_t bits = s.bits / 2, mask = (1 << bits) - 1;
  size_t bytes = columns * (size_t)bits / 8;
  float whole = (float)(1 << bits), middle = (float)mask / 2, scale = 0;
  float both = 0, square = 0, spoilt = 0;
  memset(high, 0, bytes);
  memset(low, 0, bytes);
  for (size_t lane = 0; lane < columns; lane++) {
    if (lane % GROUP == 0) scale = coded_scale(row, &s, lane / (size_t)s.group);
    int32_t code = coded_code(row, &s, lane);
    put_code(high, lane, code >> bits, bits);
    put_code(low, lane, code & mask, bits);
    float of_high = ((float)(code >> bits) - middle) * whole * scale;
    float of_both = of_high + ((float)(code & mask) - middle) * scale;
    both += of_high * of_both, square += of_high * of_high;
    if (lane % GROUP > 0) continue;
    float scales[2 * VW] = {whole * scale};
    uint16_t halves[2 * VW], narrow;
    scales[VW] = scale;
    vstore_f16(halves, vload(scales));
    vstore_f16(halves + VW, vload(scales + VW));
    narrow = halves[0];
    memcpy((uint8_t *)high + bytes + lane / GROUP * 2, &narrow, 2);
    narrow = halves[VW];
    memcpy((uint8_t *)low + bytes + lane / GROUP * 2, &narrow, 2);
    // Infinite and NaN scales are spoilt already.
    if (!(fabsf(whole * scale) <= 65504)) spoilt = NAN;
  }
  return (square > 0 ? both / square : 1) + spoilt;
}
