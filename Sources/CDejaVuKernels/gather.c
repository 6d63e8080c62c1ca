// Gather-then-multiply and its parts, for `dejavu bench --gather` only.
#include "dejavu_gather.h"

#include <string.h>

enum { LEAST_ROWS = 16, CHUNKS = 16, AHEAD = 4 };

static const char *row_at(const void *base, size_t stride, const int32_t *list, size_t entry) {
  return (const char *)base + (size_t)list[entry] * stride;
}

/// Asks for a whole row; the hardware stops at each page and does not follow lists.
static void ask_for(const char *row, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, 0, 2);
}

/// Few chunks, for each begins with rows that nobody has asked for yet.
static size_t chunks_of(size_t count) {
  return count < LEAST_ROWS * CHUNKS ? (count + LEAST_ROWS - 1) / LEAST_ROWS : CHUNKS;
}

typedef struct {
  size_t first, end;
} range;

static range range_of(size_t chunk, size_t count) {
  size_t chunks = chunks_of(count);
  return (range){chunk * count / chunks, (chunk + 1) * count / chunks};
}

/// Asks for the row that comes AHEAD rows later, at the beginning of a range for all until then.
static void ask_ahead(const void *base, size_t stride, const int32_t *list, range rows, size_t at,
                      size_t bytes) {
  size_t from = at == rows.first ? at : at + AHEAD;
  for (size_t i = from; i <= at + AHEAD && i < rows.end; i++)
    ask_for(row_at(base, stride, list, i), bytes);
}

typedef struct {
  char *to;
  size_t to_stride;
  const void *from;
  size_t from_stride;
  const int32_t *list;
  size_t count, bytes;
} rows_context;

static void rows_chunk(void *context, size_t chunk, size_t thread) {
  (void)thread;
  rows_context *c = context;
  enum { PIECE = 512 };
  range rows = range_of(chunk, c->count);
  for (size_t i = rows.first; i < rows.end; i++) {
    const char *from = row_at(c->from, c->from_stride, c->list, i);
    size_t later = i + AHEAD < rows.end ? i + AHEAD : i;
    const char *ahead = row_at(c->from, c->from_stride, c->list, later);
    // A line is asked for with each line copied: bursts would wait for each other.
    for (size_t at = 0; at < c->bytes; at += PIECE) {
      size_t bytes = c->bytes - at < PIECE ? c->bytes - at : PIECE;
      if (later > i) ask_for(ahead + at, bytes);
      memcpy(c->to + i * c->to_stride + at, from + at, bytes);
    }
  }
}

void dejavu_gather_rows(dejavu_team *team, void *to, size_t to_stride, const void *from,
                        size_t from_stride, const int32_t *list, size_t count, size_t bytes) {
  rows_context context = {to, to_stride, from, from_stride, list, count, bytes};
  dejavu_team_run(team, rows_chunk, &context, chunks_of(count));
}

/// Picks the listed elements of one row; four halves at a time, for stores are what is scarce.
static void pick(void *restrict to, const void *restrict from, const int32_t *restrict list,
                 size_t count, size_t size) {
  size_t i = 0;
  if (size == 2) {
    uint16_t *out = to;
    const uint16_t *in = from;
    for (; i + 4 <= count; i += 4) {
      uint64_t four = in[list[i]] | (uint64_t)in[list[i + 1]] << 16 |
                      (uint64_t)in[list[i + 2]] << 32 | (uint64_t)in[list[i + 3]] << 48;
      // Little-endian, as every machine that this runs on.
      memcpy(out + i, &four, 8);
    }
    for (; i < count; i++) out[i] = in[list[i]];
  } else {
    uint32_t *out = to;
    const uint32_t *in = from;
    for (; i < count; i++) out[i] = in[list[i]];
  }
}

typedef struct {
  char *to;
  size_t to_stride;
  const char *from;
  size_t from_stride, rows;
  const int32_t *list;
  size_t count, padded, size;
} columns_context;

static void columns_chunk(void *context, size_t chunk, size_t thread) {
  (void)thread;
  columns_context *c = context;
  range rows = range_of(chunk, c->rows);
  for (size_t r = rows.first; r < rows.end; r++) {
    char *to = c->to + r * c->to_stride;
    pick(to, c->from + r * c->from_stride, c->list, c->count, c->size);
    memset(to + c->count * c->size, 0, (c->padded - c->count) * c->size);
  }
}

void dejavu_gather_columns(dejavu_team *team, void *to, size_t to_stride, const void *from,
                           size_t from_stride, size_t rows, const int32_t *list, size_t count,
                           size_t padded, size_t size) {
  columns_context context = {to, to_stride, from, from_stride, rows, list, count, padded, size};
  dejavu_team_run(team, columns_chunk, &context, chunks_of(rows));
}

typedef struct {
  const dejavu_row_kernels *kernels;
  float *y;
  const void *from;
  size_t from_stride;
  const int32_t *list;
  size_t count;
  const float *x;
  size_t d, bytes;
} dots_context;

static void dots_chunk(void *context, size_t chunk, size_t thread) {
  (void)thread;
  dots_context *c = context;
  range rows = range_of(chunk, c->count);
  for (size_t i = rows.first; i < rows.end; i++) {
    ask_ahead(c->from, c->from_stride, c->list, rows, i, c->bytes);
    c->kernels->dot_rows(c->y + i, 1, row_at(c->from, c->from_stride, c->list, i), c->from_stride,
                         1, c->x, c->d, 1, c->d);
  }
}

void dejavu_gathered_dots(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                          float *y, const void *from, size_t from_stride, const int32_t *list,
                          size_t count, const float *x, size_t d) {
  size_t size = weight_type == DEJAVU_F32 ? 4 : 2;
  dots_context context = {&kernels->rows[weight_type], y, from, from_stride, list, count, x, d,
                          d * size};
  dejavu_team_run(team, dots_chunk, &context, chunks_of(count));
}

typedef struct {
  const dejavu_row_kernels *kernels;
  float *y;
  const char *w;
  size_t w_stride, rows;
  const float *x;
  size_t d, size;
} wide_context;

enum { BLOCK = 2048, TALL = 64 };

/// Rows of one range in blocks of columns, so that x stays in L1; what comes next is asked for.
static void wide_chunk(void *context, size_t chunk, size_t thread) {
  (void)thread;
  wide_context *c = context;
  range rows = range_of(chunk, c->rows);
  size_t blocks = (c->d + BLOCK - 1) / BLOCK;
  for (size_t first = rows.first; first < rows.end; first += TALL) {
    size_t count = rows.end - first < TALL ? rows.end - first : TALL, pieces = blocks * count;
    for (size_t piece = 0; piece < pieces; piece++) {
      size_t from = piece == 0 ? 0 : piece + AHEAD;
      for (size_t i = from; i <= piece + AHEAD && i < pieces; i++) {
        size_t at = i / count * BLOCK, width = c->d - at < BLOCK ? c->d - at : BLOCK;
        ask_for(c->w + (first + i % count) * c->w_stride + at * c->size, width * c->size);
      }
      size_t r = first + piece % count, at = piece / count * BLOCK;
      size_t width = c->d - at < BLOCK ? c->d - at : BLOCK;
      float part;
      c->kernels->dot_rows(&part, 1, c->w + r * c->w_stride + at * c->size, c->w_stride, 1,
                           c->x + at, width, 1, width);
      c->y[r] = at == 0 ? part : c->y[r] + part;
    }
  }
}

void dejavu_wide_product(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                         float *y, const void *w, size_t w_stride, size_t rows, const float *x,
                         size_t d) {
  wide_context context = {&kernels->rows[weight_type], y, w, w_stride, rows, x, d,
                          weight_type == DEJAVU_F32 ? 4 : 2};
  dejavu_team_run(team, wide_chunk, &context, chunks_of(rows));
}

typedef struct {
  const dejavu_row_kernels *kernels;
  float *y;
  const char *from;
  size_t from_stride, rows;
  const int32_t *list;
  size_t count, size;
  const float *a;
  size_t padded;
  char *scratch;
} product_context;

static void product_chunk(void *context, size_t chunk, size_t thread) {
  product_context *c = context;
  range rows = range_of(chunk, c->rows);
  char *picked = c->scratch + thread * c->padded * 4;
  memset(picked + c->count * c->size, 0, (c->padded - c->count) * c->size);
  for (size_t r = rows.first; r < rows.end; r++) {
    pick(picked, c->from + r * c->from_stride, c->list, c->count, c->size);
    c->kernels->dot_rows(c->y + r, 1, picked, c->padded * c->size, 1, c->a, c->padded, 1,
                         c->padded);
  }
}

void dejavu_gathered_columns_product(dejavu_team *team, const dejavu_kernels *kernels,
                                     int32_t weight_type, float *y, const void *from,
                                     size_t from_stride, size_t rows, const int32_t *list,
                                     size_t count, const float *a, size_t padded, void *scratch) {
  product_context context = {&kernels->rows[weight_type], y, from, from_stride, rows, list, count,
                             weight_type == DEJAVU_F32 ? 4 : 2, a, padded, scratch};
  dejavu_team_run(team, product_chunk, &context, chunks_of(rows));
}
