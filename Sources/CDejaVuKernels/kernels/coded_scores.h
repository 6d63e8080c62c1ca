// Scores of choosers: products of coded rows in groups of 64, symmetric, with a vector in 8 bits.

/// Bytes from rows that are read to those that are asked for, as far ahead as the bandwidth probe's: rows
/// in a row, and less than a page of them. They go to the nearest cache, since nothing else is read.
enum { SCORE_AHEAD = 4096 };

/// Rows of 8 bits that are as long as this are scored one at a time: memory follows one row by itself, and
/// only what lies behind its codes is asked for, as in `dot_run`. Shorter ones are so near to each other
/// that it follows four, and asking only hinders it.
enum { SCORED_ALONE = 512 };

typedef struct {
  float *scores;
  const dejavu_groupwise *w;
  coded_shape shape;
  coded_vector x;
} coded_scoring;

CODED_INLINE void store_score(const coded_scoring *c, size_t r, float y) {
  float score = y + (c->w->bias ? c->w->bias[r] : 0);
  c->scores[r] = c->w->gain ? score * c->w->gain[r] : score;
}

CODED_INLINE const uint8_t *scored_row(const coded_scoring *c, size_t r) {
  return (const uint8_t *)c->w->rows + r * c->w->stride;
}

static void score_alone(const coded_scoring *c, size_t first, size_t end) {
  for (size_t r = first; r < end; r++) {
    const uint8_t *row = scored_row(c, r);
    ask_behind_codes(row + 2 * c->w->stride, &c->shape);
    float y;
    dot_some(&y, &row, &c->x, &c->shape, (coded_asks){NULL, NULL, NULL}, 8, DEJAVU_GROUP, 1, 1);
    store_score(c, r, y);
  }
}

CODED_INLINE void score_quads(const coded_scoring *c, size_t first, size_t end, int32_t bits) {
  size_t stride = c->w->stride, asked = bits == 8 ? 0 : CODED_QUAD * stride;
  for (size_t r = first; r < end; r += CODED_QUAD) {
    const uint8_t *row = scored_row(c, r), *rows[CODED_QUAD];
    for (size_t at = 0; at < asked; at += 64) __builtin_prefetch(row + SCORE_AHEAD + at, 0, 3);
    // Behind the end the first row stands in: a row's sum has the same order everywhere.
    size_t present = end - r < CODED_QUAD ? end - r : CODED_QUAD;
    for (size_t j = 0; j < CODED_QUAD; j++) rows[j] = j < present ? row + j * stride : row;
    float y[CODED_QUAD];
    dot_some(y, rows, &c->x, &c->shape, (coded_asks){NULL, NULL, NULL}, bits, DEJAVU_GROUP, 1,
             CODED_QUAD);
    for (size_t j = 0; j < present; j++) store_score(c, r + j, y[j]);
  }
}

static void kernel_coded_scores(float *scores, const dejavu_groupwise *w, const void *rounded,
                                size_t first, size_t count) {
  coded_scoring c = {.scores = scores, .w = w};
  c.shape = coded_shape_of(DEJAVU_CODED(w->bits, 1, 0) | DEJAVU_NARROW, w->d);
  c.x = coded_vector_at(rounded, &c.shape);
  size_t end = first + count;
  if (w->bits == 8 && w->stride >= SCORED_ALONE) score_alone(&c, first, end);
  else if (w->bits == 8) score_quads(&c, first, end, 8);
  else if (w->bits == 4) score_quads(&c, first, end, 4);
  else score_quads(&c, first, end, 2);
}
