// Rows of codes with a scale per group: shapes and the kernels that need no vectors of codes.
//
// The layout is that of `GroupwiseFormat`: blocks of 128 columns in planes, scales, zeros. Weights
// are read once, so what a kernel must not do is spend more time on a code than memory does: about
// a tenth of a cycle. So codes are multiplied as integers and scaled by the group.
//
// - A product of a row with a vector takes the vector rounded to 16 bits (or 8: DEJAVU_NARROW) with a
//   step per group:
//     w · x = Σ_g scale_g · step_g · (Σ code · q − zero_g · Σ q).
// - A sum of rows takes four or eight of them at a time, whose factors a_r · scale_rg are rounded to
//   as many bits with a step per group that they share:
//     acc += step_g · Σ_r q_r · code_r,   offset_g −= step_g · Σ_r q_r · zero_r,
//   and offsets are added to the columns of their groups after every 64 rows.
//   Four rows that are transposed byte by byte meet their four factors in one lane.
//
// - Rows that share scales with their neighbours (DEJAVU_SHARED; coded_shared.h) are summed as codes
//   with a scale and a zero of 1, beside the result, and the sum meets the scales once.
//
// Integer sums are exact. A rounded number is off by at most 2^-16 of the greatest of its group, or
// 2^-8 where vectors are narrow.
#include "coded_place.h"

enum { CODED_QUAD = 4, CODED_OCTET = 8, CODED_RUN = 16, CODED_MOST_GROUPS = 2048 };
/// The greatest rounded number: with it, a number is 256 times a signed byte plus a signed byte.
static const float CODED_MOST = 32639;
/// The same of narrow vectors, whose higher bytes are all zero and are not multiplied.
static const float CODED_NARROW_MOST = 127;
/// Rows from those that are read to those that are asked for: with four, memory and arithmetic take
/// turns (14.6 GB/s of products where each alone does 26 and 30), with eight they overlap (25).
enum { CODED_LEAD = 2 * CODED_QUAD };
/// Rows that add up before their zeros are subtracted: sums do not grow far beyond their result.
enum { CODED_ROWS = 64 };
/// The same of rows that share scales: the largest group of most checkpoints, which is read once then.
enum { CODED_SHARED_ROWS = 128 };

/// A row's format and width.
typedef struct {
  int32_t bits, group;
  int has_zeros, narrow, shared;
  size_t d, blocks, groups, block_bytes, code_bytes;
  /// Bytes of one stored zero, and of a whole row.
  size_t zero_bytes, row_bytes;
} coded_shape;

static inline coded_shape coded_shape_of(int32_t format, size_t d) {
  coded_shape s = {.bits = format >> 3 & 0xF, .group = 32 << (format >> 1 & 3),
                   .has_zeros = format & 1, .narrow = (format & DEJAVU_NARROW) != 0,
                   .shared = (format & DEJAVU_SHARED) != 0, .d = d};
  s.blocks = (d + CODED_BLOCK - 1) / CODED_BLOCK;
  s.groups = s.blocks * CODED_BLOCK / (size_t)s.group;
  s.block_bytes = 16 * (size_t)s.bits;
  s.code_bytes = s.blocks * s.block_bytes;
  s.zero_bytes = s.has_zeros ? s.bits == 8 ? 2 : 1 : 0;
  s.row_bytes = s.code_bytes + (s.shared ? 0 : s.groups * (2 + s.zero_bytes));
  return s;
}

static inline float coded_most(const coded_shape *s) {
  return s->narrow ? CODED_NARROW_MOST : CODED_MOST;
}

/// The zero of symmetric formats.
static inline float coded_middle(const coded_shape *s) { return (float)((1 << s->bits) - 1) / 2; }

/// A vector rounded to 16 bits or 8: `q` in the order that codes are met in, then for each group the
/// step, and −step · Σ q.
typedef struct {
  const char *q;
  const float *steps, *sums;
} coded_vector;

static inline size_t coded_runs(const coded_shape *s) {
  return (s->groups + CODED_RUN - 1) / CODED_RUN * CODED_RUN;
}
static inline coded_vector coded_vector_at(const void *rounded, const coded_shape *s) {
  coded_vector v = {.q = (const char *)rounded};
  v.steps = (const float *)(v.q + s->blocks * 2 * CODED_BLOCK);
  v.sums = v.steps + coded_runs(s);
  return v;
}

/// Sums of rows on their way: where they go, and what the zeros of their groups subtract. Where rows
/// share scales, `acc` is the sum of codes, which goes to `target` by the scales of `shared`.
typedef struct {
  float *acc, offsets[CODED_MOST_GROUPS + 16];
  size_t first, end, rows;
  float *target;
  const uint8_t *shared;
} coded_sum;

static inline void begin_sum(coded_sum *sum, const coded_shape *s, float *acc, size_t first,
                             size_t end) {
  sum->acc = sum->target = acc, sum->shared = NULL;
  sum->first = first, sum->end = end, sum->rows = 0;
  memset(sum->offsets, 0, coded_runs(s) * sizeof(float));
  if (!s->shared) return;
  sum->acc = acc + s->d;
  memset(sum->acc + first, 0, (end - first) * sizeof(float));
}

/// A plane's bits of a column of a block.
static inline uint8_t coded_part(const uint8_t *plane, size_t c, int32_t bits) {
  coded_place at = coded_place_of(c, bits);
  return plane[at.byte] >> at.shift & ((1 << bits) - 1);
}

static inline int32_t coded_code(const uint8_t *row, const coded_shape *s, size_t column) {
  const uint8_t *block = row + column / CODED_BLOCK * s->block_bytes;
  size_t c = column % CODED_BLOCK;
  if (s->bits == 3) return coded_part(block, c, 2) << 1 | coded_part(block + 32, c, 1);
  if (s->bits == 6) return coded_part(block, c, 4) << 2 | coded_part(block + 64, c, 2);
  return coded_part(block, c, s->bits);
}

static inline float coded_scale(const uint8_t *row, const coded_shape *s, size_t group) {
  if (s->shared) return 1;
  uint16_t half[VW] = {0};
  float wide[VW];
  memcpy(half, row + s->code_bytes + 2 * group, 2);
  vstore(wide, vload_f16(half));
  return wide[0];
}

static inline float coded_zero(const uint8_t *row, const coded_shape *s, size_t group) {
  if (s->shared) return 1;
  if (!s->has_zeros) return coded_middle(s);
  const uint8_t *zeros = row + s->code_bytes + 2 * s->groups;
  if (s->zero_bytes == 1) return (float)zeros[group] / 2;
  return (float)(zeros[2 * group] | zeros[2 * group + 1] << 8) / 2;
}
