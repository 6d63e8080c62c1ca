// Every kernel of every instruction set that this processor has, against the plain version.
//
// The Swift tests say what each kernel means; this program needs no Swift, so that it also runs
// under an emulator of another processor: see Scripts/conformance.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dejavu_blocks.h"
#include "tables.h"

enum { MOST = 4096 };

static int failures = 0;
static uint64_t state = 1;

/// Seeded, in −1...1.
static float unit(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (float)((double)(state >> 11) / 4503599627370496.0 - 1);
}

static void fill(float *x, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] = unit();
}

/// Stored values of one type.
static void *stored(int32_t type, size_t count) {
  float *values = malloc(count * sizeof(float));
  void *out = aligned_alloc(64, (count * 4 + 63) / 64 * 64);
  fill(values, count);
  dejavu_kernels_for(DEJAVU_SCALAR)->rows[type].narrow(out, values, count);
  free(values);
  return out;
}

static void expect(const char *what, const float *found, const float *wanted, size_t count,
                   float tolerance) {
  for (size_t i = 0; i < count; i++) {
    if (fabsf(found[i] - wanted[i]) <= tolerance * (1 + fabsf(wanted[i]))) continue;
    printf("FAILED %s: lane %zu is %g, not %g\n", what, i, found[i], wanted[i]);
    failures++;
    return;
  }
}

static float *zeros_of(size_t count) { return calloc(count, sizeof(float)); }

static void check_rows(const dejavu_kernels *k, int32_t type, size_t d) {
  enum { ROWS = 11, TOKENS = 3 };
  const dejavu_row_kernels *fast = &k->rows[type];
  const dejavu_row_kernels *plain = &dejavu_kernels_for(DEJAVU_SCALAR)->rows[type];
  size_t stride = d * (type == DEJAVU_F32 ? 4 : 2);
  void *w = stored(type, ROWS * d);
  float x[TOKENS * MOST], y[TOKENS * ROWS], z[TOKENS * ROWS];
  fill(x, TOKENS * d);
  fast->dot_rows(y, ROWS, w, stride, ROWS, x, d, TOKENS, d);
  plain->dot_rows(z, ROWS, w, stride, ROWS, x, d, TOKENS, d);
  expect("dot_rows", y, z, TOKENS * ROWS, 1e-5f * sqrtf((float)d));
  float *a = zeros_of(d), *b = zeros_of(d);
  fast->axpy_rows(a, w, stride, x, ROWS, d);
  plain->axpy_rows(b, w, stride, x, ROWS, d);
  expect("axpy_rows", a, b, d, 1e-5f);
  float seen[64], known[64], p[MOST], q[MOST];
  float top = fast->scores(seen, x, w, ROWS, d, 0.3f, 0.01f, w);
  float best = plain->scores(known, x, w, ROWS, d, 0.3f, 0.01f, NULL);
  expect("scores", seen, known, ROWS, 1e-5f * sqrtf((float)d));
  expect("greatest score", &top, &best, 1, 1e-5f * sqrtf((float)d));
  fast->weigh(p, x, w, ROWS, d, w);
  plain->weigh(q, x, w, ROWS, d, NULL);
  expect("weigh", p, q, d, 1e-5f);
  fast->widen(p, w, d - 3);
  plain->widen(q, w, d - 3);
  expect("widen", p, q, d - 3, 0);
  uint8_t one[4 * MOST], two[4 * MOST];
  fast->narrow(one, x, d - 3);
  plain->narrow(two, x, d - 3);
  if (memcmp(one, two, (d - 3) * (type == DEJAVU_F32 ? 4 : 2)) != 0) {
    printf("FAILED narrow\n");
    failures++;
  }
  free(w), free(a), free(b);
}

static void check_mlp(const dejavu_kernels *k, int32_t type, size_t d, int gated, int listed) {
  enum { NEURONS = 40 };
  const int32_t list[] = {0, 3, 4, 9, 10, 11, 25, 38, 39};
  size_t rows = gated ? 3 : 2;
  void *bundle = stored(type, NEURONS * rows * d);
  float x[MOST], bias[NEURONS];
  fill(x, d), fill(bias, NEURONS);
  dejavu_mlp_job job = {.bundle = bundle, .row_stride = d * (type == DEJAVU_F32 ? 4 : 2), .d = d,
                        .x = x, .up_bias = bias, .gate_bias = gated ? bias : NULL,
                        .list = listed ? list : NULL, .gated = gated, .activation = DEJAVU_RELU,
                        .skips = 1, .scattered = listed};
  size_t count = listed ? sizeof list / sizeof *list : NEURONS;
  float *a = zeros_of(d), *b = zeros_of(d);
  size_t read = k->rows[type].mlp_rows(&job, 0, count, a);
  size_t plain = dejavu_kernels_for(DEJAVU_SCALAR)->rows[type].mlp_rows(&job, 0, count, b);
  expect("mlp_rows", a, b, d, 1e-4f * (float)d);
  if (read != plain) printf("FAILED mlp_rows: %zu rows, not %zu\n", read, plain), failures++;
  free(bundle), free(a), free(b);
}

static void check_product(const dejavu_kernels *k, int32_t type, int by_rows) {
  enum { TOKENS = 17, INNER = 300, COLUMNS = 77 };
  void *b = stored(type, INNER * COLUMNS);
  float *a = zeros_of(TOKENS * INNER), *c = zeros_of(TOKENS * COLUMNS), *e = zeros_of(TOKENS * COLUMNS);
  float bias[COLUMNS], *scratch = malloc(dejavu_gemm_scratch());
  fill(a, TOKENS * INNER), fill(bias, COLUMNS);
  dejavu_epilogue epilogue = {.bias = bias, .activation = DEJAVU_RELU};
  const dejavu_kernels *tables[] = {k, dejavu_kernels_for(DEJAVU_SCALAR)};
  for (int i = 0; i < 2; i++) {
    void *packed = malloc(dejavu_packed_a_bytes(tables[i], TOKENS, INNER));
    tables[i]->pack_a(packed, a, INNER, TOKENS, INNER);
    dejavu_gemm_job job = {.packed_a = packed, .tokens = TOKENS, .k = INNER, .b = b,
                           .b_stride = (size_t)(by_rows ? INNER : COLUMNS) *
                                       (type == DEJAVU_F32 ? 4 : 2),
                           .by_rows = by_rows, .c = i == 0 ? c : e, .c_stride = COLUMNS,
                           .epilogue = &epilogue};
    tables[i]->rows[type].gemm(&job, 0, COLUMNS, scratch);
    free(packed);
  }
  expect("gemm", c, e, TOKENS * COLUMNS, 1e-4f);
  free(b), free(a), free(c), free(e), free(scratch);
}

/// Scores of choosers' rows, whose integers are the same; and against the exact products of the vector.
static void check_scores(const dejavu_kernels *k, int32_t bits, size_t d) {
  enum { ROWS = 9 };
  const dejavu_kernels *plain = dejavu_kernels_for(DEJAVU_SCALAR);
  int32_t format = DEJAVU_CODED(bits, 1, 0);
  size_t stride = dejavu_groupwise_bytes(d, bits);
  uint8_t *rows = malloc(ROWS * stride), *q = malloc(2 * dejavu_rounded_bytes(d));
  float x[MOST] = {0}, wide[MOST], a[ROWS], b[ROWS], exact[ROWS] = {0}, bias[ROWS], gain[ROWS];
  for (size_t r = 0; r < ROWS; r++) {
    fill(x, d);
    dejavu_quantize_row(rows + r * stride, x, d, bits);
  }
  fill(bias, ROWS), fill(gain, ROWS);
  k->coded_round(q, x, d, format | DEJAVU_NARROW);
  plain->coded_round(q + dejavu_rounded_bytes(d), x, d, format | DEJAVU_NARROW);
  dejavu_groupwise w = {.rows = rows, .stride = stride, .d = d, .bits = bits, .bias = bias,
                        .gain = gain};
  k->coded_scores(a, &w, q, 0, 5), k->coded_scores(a, &w, q, 5, ROWS - 5);
  plain->coded_scores(b, &w, q + dejavu_rounded_bytes(d), 0, ROWS);
  expect("coded_scores", a, b, ROWS, 1e-5f * sqrtf((float)d));
  for (size_t r = 0; r < ROWS; r++) {
    plain->coded_widen(wide, rows + r * stride, 0, d, d, format, NULL);
    for (size_t i = 0; i < d; i++) exact[r] += wide[i] * x[i];
    exact[r] = (exact[r] + bias[r]) * gain[r];
  }
  expect("coded_scores against floats", a, exact, ROWS, 6e-3f * sqrtf((float)d));
  free(rows), free(q);
}

/// Rows with scales of their own.
static const dejavu_scale_rows OWN = {0};

/// Rows of random codes, scales of about 2^-7 and zeros.
static uint8_t *coded(int32_t bits, int32_t group, int zeros, size_t rows, size_t d,
                      size_t *stride) {
  size_t blocks = (d + 127) / 128, groups = blocks * 128 / (size_t)group;
  size_t codes = blocks * 16 * (size_t)bits, zero = zeros ? bits == 8 ? 2 : 1 : 0;
  *stride = (codes + groups * (2 + zero) + 3) / 4 * 4;
  uint8_t *out = malloc(rows * *stride);
  for (size_t r = 0; r < rows; r++) {
    uint8_t *row = out + r * *stride;
    for (size_t i = 0; i < *stride; i++) row[i] = (uint8_t)(127.5f * (unit() + 1));
    for (size_t g = 0; g < groups; g++) {
      // Every ninth group is all zeros.
      float scale = g % 9 == 8 ? 0 : 0.0078f * (1.5f + unit());
      dejavu_kernels_for(DEJAVU_SCALAR)->rows[DEJAVU_F16].narrow(row + codes + 2 * g, &scale, 1);
      if (zero == 2) row[codes + 2 * groups + 2 * g + 1] = 0;
    }
  }
  return out;
}

/// Against the plain version, whose integers are the same; and against the exact products of the
/// exact weights: what is rounded is off by 2^-16 of the greatest of its group, 2^-8 where narrow.
static void check_coded(const dejavu_kernels *k, int32_t bits, int32_t log, int zeros, int32_t narrow,
                        size_t d) {
  enum { ROWS = 11, TOKENS = 2 };
  const dejavu_kernels *plain = dejavu_kernels_for(DEJAVU_SCALAR);
  int32_t format = DEJAVU_CODED(bits, log, zeros) | narrow;
  float off = narrow ? 0x1p-8f : 0x1p-16f;
  size_t stride, bytes = dejavu_rounded_bytes(d);
  uint8_t *w = coded(bits, 32 << log, zeros, ROWS, d, &stride);
  float *wide = zeros_of(ROWS * d), *same = zeros_of(d), x[TOKENS * MOST];
  float y[TOKENS * ROWS], z[TOKENS * ROWS], exact[TOKENS * ROWS] = {0};
  fill(x, TOKENS * d);
  for (size_t r = 0; r < ROWS; r++) {
    k->coded_widen(wide + r * d, w + r * stride, 0, d, d, format, NULL);
    plain->coded_widen(same, w + r * stride, 0, d, d, format, NULL);
    expect("coded_widen", wide + r * d, same, d, 0);
  }
  k->coded_widen(same, w + stride, 32, d, d, format, NULL);
  expect("coded_widen of a part", same, wide + d + 32, d - 32, 0);
  char *rounded[2] = {malloc(TOKENS * bytes), malloc(TOKENS * bytes)};
  for (size_t t = 0; t < TOKENS; t++) {
    k->coded_round(rounded[0] + t * bytes, x + t * d, d, format);
    plain->coded_round(rounded[1] + t * bytes, x + t * d, d, format);
  }
  k->coded_dot_rows(y, ROWS, w, stride, ROWS, w, rounded[0], bytes, TOKENS, d, format);
  plain->coded_dot_rows(z, ROWS, w, stride, ROWS, NULL, rounded[1], bytes, TOKENS, d, format);
  float *a = zeros_of(d), *b = zeros_of(d), *c = zeros_of(d), weights = 0, norm = 0;
  for (size_t i = 0; i < ROWS * d; i++) weights = fmaxf(weights, fabsf(wide[i]));
  expect("coded_dot_rows", y, z, TOKENS * ROWS, 2e-7f * weights * (float)(d << bits) / 2);
  for (size_t t = 0; t < TOKENS; t++)
    for (size_t r = 0; r < ROWS; r++)
      for (size_t i = 0; i < d; i++) exact[t * ROWS + r] += x[t * d + i] * wide[r * d + i];
  expect("rounding of a product", y, exact, TOKENS * ROWS, off * weights * (float)d);
  k->coded_axpy_rows(a, w, stride, x, ROWS, w, 0, d, d, format, OWN, 0);
  plain->coded_axpy_rows(b, w, stride, x, ROWS, NULL, 0, d, d, format, OWN, 0);
  for (size_t r = 0; r < ROWS; r++)
    for (size_t i = 0; i < d; i++) c[i] += x[r] * wide[r * d + i], norm += fabsf(x[r]);
  expect("coded_axpy_rows", a, b, d, 1e-5f * (float)(1 << bits) / 2);
  expect("rounding of a sum", a, c, d, off * 4 * ROWS * weights * (float)(1 << bits));
  if (d > 128) {
    memset(b, 0, d * sizeof(float));
    k->coded_axpy_rows(b, w, stride, x, ROWS, NULL, 128, d, d, format, OWN, 0);
    expect("coded_axpy_rows of a part", b + 128, a + 128, d - 128, 0);
  }
  free(w), free(wide), free(same), free(rounded[0]), free(rounded[1]), free(a), free(b), free(c);
}

static void check_coded_mlp(const dejavu_kernels *k, int32_t bits, int32_t narrow, size_t d,
                            int gated, int listed) {
  enum { NEURONS = 40 };
  const int32_t list[] = {0, 3, 4, 9, 10, 11, 25, 38, 39};
  int32_t format = DEJAVU_CODED(bits, 1, 0) | narrow;
  size_t stride, count = listed ? sizeof list / sizeof *list : NEURONS;
  uint8_t *bundle = coded(bits, 64, 0, NEURONS * (gated ? 3 : 2), d, &stride);
  float x[MOST], bias[NEURONS], *a = zeros_of(d), *b = zeros_of(d), *c = zeros_of(d);
  fill(x, d), fill(bias, NEURONS);
  dejavu_mlp_job job = {.bundle = bundle, .row_stride = stride, .d = d, .x = x, .up_bias = bias,
                        .gate_bias = gated ? bias : NULL, .list = listed ? list : NULL,
                        .gated = gated, .activation = DEJAVU_RELU, .skips = 1,
                        .scattered = listed};
  const dejavu_kernels *tables[] = {k, dejavu_kernels_for(DEJAVU_SCALAR)};
  size_t read[2];
  for (int i = 0; i < 2; i++) {
    void *rounded = malloc(dejavu_rounded_bytes(d));
    tables[i]->coded_round(rounded, x, d, format);
    read[i] = tables[i]->coded_mlp_rows(&job, format, rounded, 0, count, i == 0 ? a : b).down;
    job.skips = 0;
    if (i == 0) tables[i]->coded_mlp_rows(&job, format, rounded, 0, count, c);
    job.skips = 1;
    free(rounded);
  }
  expect("coded_mlp_rows", a, b, d, 1e-4f * (float)d);
  expect("rows of zero left out", c, a, d, 0);
  if (read[0] != read[1])
    printf("FAILED coded_mlp_rows: %zu rows, not %zu\n", read[0], read[1]), failures++;
  free(bundle), free(a), free(b), free(c);
}

static void check_coded_product(const dejavu_kernels *k, int32_t bits, int by_rows) {
  enum { TOKENS = 17, INNER = 320, COLUMNS = 96 };
  size_t rows = by_rows ? COLUMNS : INNER, d = by_rows ? INNER : COLUMNS, stride;
  int32_t format = DEJAVU_CODED(bits, 0, 1);
  uint8_t *b = coded(bits, 32, 1, rows, d, &stride);
  float *wide = zeros_of(rows * d), *c = zeros_of(TOKENS * COLUMNS);
  float *e = zeros_of(TOKENS * COLUMNS), *a = zeros_of(TOKENS * INNER);
  float *scratch = malloc(dejavu_gemm_scratch());
  fill(a, TOKENS * INNER);
  for (size_t r = 0; r < rows; r++)
    k->coded_widen(wide + r * d, b + r * stride, 0, d, d, format, NULL);
  void *packed = malloc(dejavu_packed_a_bytes(k, TOKENS, INNER));
  k->pack_a(packed, a, INNER, TOKENS, INNER);
  dejavu_gemm_job job = {.packed_a = packed, .tokens = TOKENS, .k = INNER, .b = b,
                         .b_stride = stride, .by_rows = by_rows, .c = c, .c_stride = COLUMNS};
  k->coded_gemm(&job, format, d, 0, COLUMNS, scratch);
  job.b = wide, job.b_stride = d * sizeof(float), job.c = e;
  k->rows[DEJAVU_F32].gemm(&job, 0, COLUMNS, scratch);
  expect("coded_gemm", c, e, TOKENS * COLUMNS, 0);
  free(b), free(wide), free(a), free(c), free(e), free(scratch), free(packed);
}

/// Scales for every `group` of `rows` rows, finite and zeros within what codes have.
static dejavu_scale_rows shared_scales(int32_t bits, size_t rows, size_t group, size_t d) {
  size_t columns = (d + 127) / 128 * 128, zero = bits == 8 ? 2 : 1;
  size_t groups = (rows + group - 1) / group;
  dejavu_scale_rows scales = {.stride = columns * (2 + zero), .group = group};
  uint8_t *base = malloc(groups * scales.stride);
  for (size_t g = 0; g < groups; g++)
    for (size_t c = 0; c < columns; c++) {
      uint8_t *row = base + g * scales.stride;
      float scale = 0.0078f * (1.5f + unit());
      dejavu_kernels_for(DEJAVU_SCALAR)->rows[DEJAVU_F16].narrow(row + 2 * c, &scale, 1);
      unsigned doubled = 2 * (unsigned)((unit() + 1) * (float)(1 << bits) / 2);
      row[2 * columns + zero * c] = (uint8_t)doubled;
      if (zero == 2) row[2 * columns + zero * c + 1] = (uint8_t)(doubled >> 8);
    }
  scales.base = base;
  return scales;
}

/// Sums of rows that share scales, whole, in parts, and from the middle of a group on.
static void check_shared(const dejavu_kernels *k, int32_t bits, size_t group, int32_t narrow,
                         size_t d) {
  enum { ROWS = 37, SKIP = 5 };
  const dejavu_kernels *plain = dejavu_kernels_for(DEJAVU_SCALAR);
  int32_t format = DEJAVU_CODED(bits, 2, 1) | DEJAVU_SHARED | narrow;
  float off = narrow ? 0x1p-8f : 0x1p-16f, greatest = 0, x[ROWS];
  size_t stride;
  uint8_t *w = coded(bits, 128, 1, ROWS, d, &stride);
  dejavu_scale_rows scales = shared_scales(bits, ROWS, group, d);
  float *wide = zeros_of(ROWS * d), *same = zeros_of(d);
  float *a = zeros_of(2 * d), *b = zeros_of(2 * d), *c = zeros_of(d);
  fill(x, ROWS);
  for (size_t r = 0; r < ROWS; r++) {
    const char *row = (const char *)scales.base + r / group * scales.stride;
    k->coded_widen(wide + r * d, w + r * stride, 0, d, d, format, row);
    plain->coded_widen(same, w + r * stride, 0, d, d, format, row);
    expect("coded_widen of shared scales", wide + r * d, same, d, 0);
    k->coded_widen(same, w + r * stride, 16, d, d, format, row);
    expect("a part of it", same, wide + r * d + 16, d - 16, 0);
    for (size_t i = 0; i < d && r >= SKIP; i++) c[i] += x[r - SKIP] * wide[r * d + i];
    for (size_t i = 0; i < d; i++) greatest = fmaxf(greatest, fabsf(wide[r * d + i]));
  }
  k->coded_axpy_rows(a, w + SKIP * stride, stride, x, ROWS - SKIP, NULL, 0, d, d, format, scales, SKIP);
  plain->coded_axpy_rows(b, w + SKIP * stride, stride, x, ROWS - SKIP, NULL, 0, d, d, format, scales, SKIP);
  expect("coded_axpy_rows of shared scales", a, b, d, 2e-6f * (float)(1 << bits));
  expect("rounding of such a sum", a, c, d, off * ROWS * greatest + 1e-6f * (float)(1 << bits));
  if (d > 128) {
    memset(b, 0, 2 * d * sizeof(float));
    k->coded_axpy_rows(b, w + SKIP * stride, stride, x, ROWS - SKIP, NULL, 128, d, d, format, scales, SKIP);
    expect("a part of such a sum", b + 128, a + 128, d - 128, 0);
  }
  free(w), free((void *)scales.base), free(wide), free(same), free(a), free(b), free(c);
}

/// The MLP whose down rows share scales: zeros left out or not, groups cut by a list or by a share.
static void check_shared_mlp(const dejavu_kernels *k, int32_t bits, size_t group, size_t d, int gated,
                             int listed) {
  enum { NEURONS = 150 };
  const int32_t list[] = {3, 4, 9, 10, 11, 25, 38, 39, 63, 64, 65, 66, 67, 68, 127, 128, 149};
  int32_t format = DEJAVU_CODED(bits, 1, 1);
  size_t stride, count = listed ? sizeof list / sizeof *list : NEURONS, rows = gated ? 3 : 2;
  uint8_t *bundle = coded(bits, 64, 1, NEURONS * rows, d, &stride);
  dejavu_scale_rows scales = shared_scales(bits, NEURONS, group, d);
  float x[MOST], bias[NEURONS], *wide = zeros_of(d), *exact = zeros_of(d);
  float *sums[] = {zeros_of(2 * d), zeros_of(2 * d), zeros_of(2 * d)};
  fill(x, d), fill(bias, NEURONS);
  dejavu_mlp_job job = {.bundle = bundle, .row_stride = stride, .d = d, .x = x, .up_bias = bias,
                        .gate_bias = gated ? bias : NULL, .list = listed ? list : NULL,
                        .gated = gated, .activation = DEJAVU_RELU, .skips = 1,
                        .scattered = listed, .down_scales = scales};
  const dejavu_kernels *tables[] = {k, dejavu_kernels_for(DEJAVU_SCALAR)};
  dejavu_rows_read read[3];
  void *rounded = malloc(dejavu_rounded_bytes(d));
  for (int i = 2; i >= 0; i--) {
    job.skips = i < 2;
    tables[i & 1]->coded_round(rounded, x, d, format);
    read[i] = tables[i & 1]->coded_mlp_rows(&job, format, rounded, 0, count, sums[i]);
  }
  size_t down = 0, groups = 0, last = NEURONS;
  float greatest = 0;
  for (size_t e = 0; e < count; e++) {
    size_t n = listed ? (size_t)list[e] : e;
    float dots[2];
    k->coded_dot_rows(dots, 1, bundle + n * rows * stride, stride, rows - 1, NULL, rounded, 0, 1, d,
                      format);
    float act = fmaxf(dots[0] + bias[n], 0) * (gated ? dots[1] + bias[n] : 1);
    if (act == 0) continue;
    down++;
    if (n / group != last) groups++, last = n / group;
    k->coded_widen(wide, bundle + (n * rows + rows - 1) * stride, 0, d, d, format | DEJAVU_SHARED,
                   (const char *)scales.base + n / group * scales.stride);
    for (size_t i = 0; i < d; i++) {
      exact[i] += act * wide[i];
      greatest = fmaxf(greatest, fabsf(act * wide[i]));
    }
  }
  float near = 0x1p-15f * greatest * (float)count;
  expect("MLP with shared scales", sums[0], sums[1], d, near);
  expect("rounding of its rows", sums[0], exact, d, near);
  expect("its rows of zero left out", sums[2], sums[0], d, 0);
  if (read[0].down != down || read[0].scales != groups)
    printf("FAILED shared MLP: %zu rows and %zu of scales, not %zu and %zu\n", read[0].down,
           read[0].scales, down, groups), failures++;
  size_t all = listed ? 0 : (NEURONS + group - 1) / group;
  if (!listed && (read[2].down != NEURONS || read[2].scales != all))
    printf("FAILED shared MLP: a dense run reads %zu rows of scales, not %zu\n", read[2].scales, all),
        failures++;
  free(bundle), free((void *)scales.base), free(rounded), free(wide), free(exact);
  for (int i = 0; i < 3; i++) free(sums[i]);
}

static void check_shared_product(const dejavu_kernels *k, int32_t bits, size_t group) {
  enum { TOKENS = 17, INNER = 320, COLUMNS = 96 };
  int32_t format = DEJAVU_CODED(bits, 0, 1) | DEJAVU_SHARED;
  size_t stride;
  uint8_t *b = coded(bits, 32, 1, INNER, COLUMNS, &stride);
  dejavu_scale_rows scales = shared_scales(bits, INNER, group, COLUMNS);
  float *wide = zeros_of(INNER * COLUMNS), *c = zeros_of(TOKENS * COLUMNS);
  float *e = zeros_of(TOKENS * COLUMNS), *a = zeros_of(TOKENS * INNER);
  float *scratch = malloc(dejavu_gemm_scratch());
  void *packed = malloc(dejavu_packed_a_bytes(k, TOKENS, INNER));
  fill(a, TOKENS * INNER);
  for (size_t r = 0; r < INNER; r++)
    k->coded_widen(wide + r * COLUMNS, b + r * stride, 0, COLUMNS, COLUMNS, format,
                   (const char *)scales.base + r / group * scales.stride);
  k->pack_a(packed, a, INNER, TOKENS, INNER);
  dejavu_gemm_job job = {.packed_a = packed, .tokens = TOKENS, .k = INNER, .b = b,
                         .b_stride = stride, .scales = scales, .c = c, .c_stride = COLUMNS};
  k->coded_gemm(&job, format, COLUMNS, 0, COLUMNS, scratch);
  job.b = wide, job.b_stride = COLUMNS * sizeof(float), job.c = e;
  k->rows[DEJAVU_F32].gemm(&job, 0, COLUMNS, scratch);
  expect("coded_gemm of shared scales", c, e, TOKENS * COLUMNS, 0);
  free(b), free((void *)scales.base), free(wide), free(c), free(e), free(a);
  free(scratch), free(packed);
}

static void check_shared_scales(const dejavu_kernels *k) {
  static const size_t widths[] = {32, 128, 768, 1120}, groups[] = {1, 3, 8, 32, 64, 128};
  for (int32_t bits = 4; bits <= 8; bits += 4)
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
      for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        check_shared(k, bits, groups[g], 0, widths[i]);
        check_shared(k, bits, groups[g], DEJAVU_NARROW, widths[i]);
        for (int choice = 0; choice < 4; choice++)
          check_shared_mlp(k, bits, groups[g], widths[i], choice & 1, choice >> 1);
      }
      check_shared_product(k, bits, groups[g]);
    }
}

/// Rows in two halves: parted the same everywhere, and computed as whole rows are, but for rounding.
static void check_nested(const dejavu_kernels *k, int32_t bits, size_t d, int gated) {
  enum { NEURONS = 40 };
  const int32_t list[] = {0, 3, 4, 9, 10, 11, 25, 38, 39};
  const dejavu_kernels *plain = dejavu_kernels_for(DEJAVU_SCALAR);
  int32_t format = DEJAVU_CODED(bits, 1, 0);
  size_t stride, columns = (d + 63) / 64 * 64, rows = gated ? 3 : 2;
  size_t half = dejavu_groupwise_bytes(columns, bits / 2);
  uint8_t *bundle = coded(bits, 64, 0, NEURONS * rows, d, &stride);
  size_t neuron = half + (rows - 1) * stride;
  uint8_t *high = malloc(NEURONS * half), *nested = malloc(NEURONS * neuron);
  uint8_t *same = malloc(2 * half);
  for (size_t i = 0; i < NEURONS; i++) {
    const uint8_t *row = bundle + i * rows * stride;
    float factor = k->coded_halves(high + i * half, nested + i * neuron, row, d, columns, format);
    float again = plain->coded_halves(same, same + half, row, d, columns, format);
    expect("coded_halves: the factor", &factor, &again, 1, 1e-5f);
    if (memcmp(high + i * half, same, half) || memcmp(nested + i * neuron, same + half, half))
      printf("FAILED coded_halves of %d bits, %zu columns\n", bits, d), failures++;
    memcpy(nested + i * neuron + half, row + stride, (rows - 1) * stride);
  }
  float x[MOST] = {0}, bias[NEURONS], *a = zeros_of(d), *b = zeros_of(d);
  fill(x, d), fill(bias, NEURONS);
  dejavu_nested halves = {.high = high, .high_stride = half, .low_bytes = half, .d = columns,
                          .bits = bits / 2};
  void *met = malloc(dejavu_rounded_bytes(columns));
  k->coded_round(met, x, columns, DEJAVU_CODED(bits / 2, 1, 0));
  halves.rounded = met;
  dejavu_mlp_job job = {.bundle = bundle, .row_stride = stride, .d = d, .x = x, .up_bias = bias,
                        .gate_bias = gated ? bias : NULL, .list = list, .gated = gated,
                        .activation = DEJAVU_RELU, .skips = 1, .scattered = 1};
  void *rounded = malloc(dejavu_rounded_bytes(d));
  plain->coded_round(rounded, x, d, format);
  plain->coded_mlp_rows(&job, format, rounded, 0, sizeof list / sizeof *list, b);
  job.bundle = nested, job.nested = &halves;
  k->coded_round(rounded, x, d, format);
  k->coded_mlp_rows(&job, format, rounded, 0, sizeof list / sizeof *list, a);
  expect("rows in two halves", a, b, d, 1e-3f * (float)(1 << bits));
  free(bundle), free(high), free(nested), free(same), free(met), free(rounded), free(a), free(b);
}

static void check_every_format(const dejavu_kernels *k) {
  static const size_t widths[] = {32, 96, 128, 768, 1120, 2048};
  for (int32_t bits = 2; bits <= 8; bits++) {
    if (bits == 5 || bits == 7) continue;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
      for (int choice = 0; choice < 12; choice++)
        check_coded(k, bits, choice / 4, choice & 1, choice & 2 ? DEJAVU_NARROW : 0, widths[i]);
      for (int choice = 0; choice < 8; choice++)
        check_coded_mlp(k, bits, choice & 4 ? DEJAVU_NARROW : 0, widths[i], choice & 1,
                        choice >> 1 & 1);
    }
    check_coded_product(k, bits, 0);
    check_coded_product(k, bits, 1);
  }
  check_shared_scales(k);
  for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
    for (int choice = 0; choice < 4; choice++)
      check_nested(k, choice & 1 ? 8 : 4, widths[i], choice >> 1);
}

static void check_vectors(const dejavu_kernels *k, size_t n) {
  const dejavu_kernels *plain = dejavu_kernels_for(DEJAVU_SCALAR);
  size_t padded = (n + 31) / 32 * 32;
  float x[MOST], w[MOST], a[MOST], b[MOST];
  fill(x, padded), fill(w, padded);
  k->layer_norm(a, x, w, w, 1e-5f, n, padded);
  plain->layer_norm(b, x, w, w, 1e-5f, n, padded);
  expect("layer_norm", a, b, padded, 1e-5f);
  k->rms_norm(a, x, w, 1e-5f, n, padded);
  plain->rms_norm(b, x, w, 1e-5f, n, padded);
  expect("rms_norm", a, b, padded, 1e-5f);
  for (int32_t act = DEJAVU_RELU; act <= DEJAVU_SILU; act++) {
    memcpy(a, x, sizeof a), memcpy(b, x, sizeof b);
    k->activate(a, n, act);
    plain->activate(b, n, act);
    expect("activate", a, b, n, 1e-6f);
  }
  memcpy(a, x, sizeof a), memcpy(b, x, sizeof b);
  k->softmax(a, n, 3, 0.01f, 5);
  plain->softmax(b, n, 3, 0.01f, 5);
  expect("softmax", a, b, n, 1e-5f);
  memcpy(a, x, sizeof a), memcpy(b, x, sizeof b);
  k->add(a, w, x, n);
  plain->add(b, w, x, n);
  expect("add", a, b, n, 0);
  k->reduce(a, x, 32, 3, 32);
  plain->reduce(b, x, 32, 3, 32);
  expect("reduce", a, b, 32, 1e-6f);
}

static void check_table(const dejavu_kernels *k) {
  static const size_t widths[] = {32, 64, 96, 768, 1280, 4096};
  for (int32_t type = 0; type < DEJAVU_DTYPES; type++) {
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
      check_rows(k, type, widths[i]);
      for (int choice = 0; choice < 4; choice++)
        check_mlp(k, type, widths[i], choice & 1, choice >> 1);
    }
    check_product(k, type, 0);
    check_product(k, type, 1);
  }
  for (int32_t bits = 2; bits <= 8; bits *= 2)
    for (size_t d = 64; d <= 2176; d += 64) check_scores(k, bits, d);
  check_every_format(k);
  for (size_t n = 1; n < 200; n += 13) check_vectors(k, n);
}

int main(void) {
  int tables = 0;
  for (int32_t isa = DEJAVU_SCALAR + 1; isa < DEJAVU_ISAS; isa++) {
    const dejavu_kernels *k = dejavu_kernels_for(isa);
    if (!k) continue;
    int before = failures;
    check_table(k);
    printf("%s: %s\n", k->name, failures == before ? "as the plain version" : "FAILED");
    tables++;
  }
#if defined(__x86_64__)
  // Hidden on processors that also have the bfloat16 and byte products.
  if (dejavu_kernels_for(DEJAVU_AVX512)) {
    int before = failures;
    check_table(&dejavu_table_avx512);
    printf("plain AVX-512: %s\n", failures == before ? "as the plain version" : "FAILED");
  }
#endif
  if (tables == 0) printf("no instruction set but the plain one\n");
  return failures > 0 || tables == 0;
}
