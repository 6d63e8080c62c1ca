// Coded rows in two halves, whose high one a chooser multiplies for every neuron.
//
// A symmetric weight is (code − (4^b − 1) / 2) · scale for 2b bits. With code = 2^b · high + low it is
//   (high − m) · 2^b · scale + (low − m) · scale,   m = (2^b − 1) / 2,
// exactly: two coded rows of b bits in groups of 64. The chooser reads all high rows; those of the chosen
// neurons are still in the cache when their low ones come, and both are multiplied with the vector in
// 16 bits, where the chooser had 8.

/// The vector that both halves meet, and their shape.
typedef struct {
  coded_shape s;
  coded_vector x;
} nested_vector;

static void begin_nested(nested_vector *v, const dejavu_nested *n) {
  v->s = coded_shape_of(DEJAVU_CODED(n->bits, 1, 0), n->d);
  v->x = coded_vector_at(n->rounded, &v->s);
}

/// Products of four halves; every row's sum has an order of its own.
static void half_products(float y[CODED_QUAD], const uint8_t *const rows[CODED_QUAD],
                          const nested_vector *v) {
  coded_asks none = {NULL, NULL, NULL};
  if (v->s.bits == 2) dot_some(y, rows, &v->x, &v->s, none, 2, DEJAVU_GROUP, 0, CODED_QUAD);
  else dot_some(y, rows, &v->x, &v->s, none, 4, DEJAVU_GROUP, 0, CODED_QUAD);
}

/// Products of four whole rows.
static void nested_quad(float y[CODED_QUAD], const uint8_t *const high[CODED_QUAD],
                        const uint8_t *const low[CODED_QUAD], const nested_vector *v) {
  float of_low[CODED_QUAD];
  half_products(y, high, v);
  half_products(of_low, low, v);
  for (size_t i = 0; i < CODED_QUAD; i++) y[i] += of_low[i];
}

/// Stores the scale of one group of a row of codes.
static inline void put_scale(uint8_t *scales, size_t group, float scale) {
  float lanes[VW] = {scale};
  uint16_t halves[VW];
  vstore_f16(halves, vload(lanes));
  memcpy(scales + 2 * group, halves, sizeof *halves);
}

static float kernel_coded_halves(void *high, void *low, const void *row, size_t d, size_t columns,
                                 int32_t format) {
  coded_shape s = coded_shape_of(format, d);
  int32_t bits = s.bits / 2, mask = (1 << bits) - 1;
  coded_shape half = coded_shape_of(DEJAVU_CODED(bits, 1, 0), columns);
  float whole = (float)(1 << bits), middle = (float)mask / 2, scale = 0;
  float both = 0, square = 0, spoilt = 0;
  memset(high, 0, half.row_bytes);
  memset(low, 0, half.row_bytes);
  for (size_t lane = 0; lane < columns; lane++) {
    if (lane % DEJAVU_GROUP == 0) {
      size_t group = lane / DEJAVU_GROUP;
      scale = coded_scale(row, &s, lane / (size_t)s.group);
      put_scale((uint8_t *)high + half.code_bytes, group, whole * scale);
      put_scale((uint8_t *)low + half.code_bytes, group, scale);
      // Infinite and NaN scales are spoilt already.
      if (!(fabsf(whole * scale) <= 65504)) spoilt = NAN;
    }
    int32_t code = coded_code(row, &s, lane);
    put_code(high, lane, code >> bits, bits);
    put_code(low, lane, code & mask, bits);
    float of_high = ((float)(code >> bits) - middle) * whole * scale;
    float of_both = of_high + ((float)(code & mask) - middle) * scale;
    both += of_high * of_both, square += of_high * of_high;
  }
  return (square > 0 ? both / square : 1) + spoilt;
}
