// Scores of choosers: products of coded rows in groups of 64, symmetric, with a vector in 8 bits.

/// Bytes from rows that are read to those that are asked for, as far ahead as the bandwidth probe's: rows
/// in a row, and less than a page of them. They go to the nearest cache, since nothing else is read.
enum { SCORE_AHEAD = 4096 };

CODED_INLINE void score_rows(float *scores, const dejavu_groupwise *w, const void *rounded,
                             size_t first, size_t count, int32_t bits) {
  coded_shape s = coded_shape_of(DEJAVU_CODED(bits, 1, 0) | DEJAVU_NARROW, w->d);
  coded_vector x = coded_vector_at(rounded, &s);
  coded_asks none = {NULL, NULL, NULL};
  for (size_t r = first, end = first + count; r < end; r += CODED_QUAD) {
    const uint8_t *row = (const uint8_t *)w->rows + r * w->stride, *rows[CODED_QUAD];
    for (size_t at = 0; at < CODED_QUAD * w->stride; at += 64)
      __builtin_prefetch(row + SCORE_AHEAD + at, 0, 3);
    // Behind the end the first row stands in: a row's sum has the same order everywhere.
    size_t present = end - r < CODED_QUAD ? end - r : CODED_QUAD;
    for (size_t j = 0; j < CODED_QUAD; j++) rows[j] = j < present ? row + j * w->stride : row;
    float y[CODED_QUAD];
    dot_some(y, rows, &x, &s, none, bits, DEJAVU_GROUP, 1, CODED_QUAD);
    for (size_t j = 0; j < present; j++) {
      float score = y[j] + (w->bias ? w->bias[r + j] : 0);
      scores[r + j] = w->gain ? score * w->gain[r + j] : score;
    }
  }
}

static void kernel_coded_scores(float *scores, const dejavu_groupwise *w, const void *rounded,
                                size_t first, size_t count) {
  if (w->bits == 8) score_rows(scores, w, rounded, first, count, 8);
  else if (w->bits == 4) score_rows(scores, w, rounded, first, count, 4);
  else score_rows(scores, w, rounded, first, count, 2);
}
