// The MLP block, projections and products on a thread team.
#include "dejavu_blocks.h"

#include <string.h>

static size_t size_of(int32_t type) { return type == DEJAVU_F32 ? 4 : 2; }

void dejavu_round(const dejavu_kernels *kernels, int32_t weight_type, void *rounded,
                  const float *x, size_t d) {
  if (dejavu_is_coded(weight_type)) kernels->coded_round(rounded, x, d, weight_type);
}

/// The type of rows that may share scales.
static int32_t type_of(int32_t weight_type, dejavu_scale_rows scales) {
  return scales.base ? weight_type | DEJAVU_SHARED : weight_type;
}

dejavu_rows_read dejavu_mlp_rows(const dejavu_kernels *kernels, int32_t weight_type,
                                 const dejavu_mlp_job *job, const void *rounded, size_t first,
                                 size_t count, float *acc) {
  if (dejavu_is_coded(weight_type))
    return kernels->coded_mlp_rows(job, weight_type, rounded, first, count, acc);
  return (dejavu_rows_read){.down = kernels->rows[weight_type].mlp_rows(job, first, count, acc)};
}

void dejavu_add_rows(const dejavu_kernels *kernels, int32_t weight_type, float *acc,
                     const void *w, size_t w_stride, const float *a, size_t rows,
                     const void *next, size_t first, size_t end, size_t d,
                     dejavu_scale_rows scales, size_t row) {
  if (dejavu_is_coded(weight_type)) {
    kernels->coded_axpy_rows(acc, w, w_stride, a, rows, next, first, end, d,
                             type_of(weight_type, scales), scales, row);
  } else {
    const char *part = (const char *)w + first * size_of(weight_type);
    kernels->rows[weight_type].axpy_rows(acc + first, part, w_stride, a, rows, end - first);
  }
}

void dejavu_widen_row(const dejavu_kernels *kernels, int32_t weight_type, float *out,
                      const void *w, size_t d, dejavu_scale_rows scales, size_t row) {
  const char *shared = scales.base;
  if (shared) shared += row / scales.group * scales.stride;
  if (dejavu_is_coded(weight_type))
    kernels->coded_widen(out, w, 0, d, d, type_of(weight_type, scales), shared);
  else kernels->rows[weight_type].widen(out, w, d);
}

typedef struct {
  const dejavu_kernels *kernels;
  int32_t weight_type;
  const dejavu_mlp_job *job;
  size_t count, slices;
  float *acc;
  size_t acc_stride;
  dejavu_rows_read *rows_read;
  const void *rounded;
} mlp_context;

static void mlp_chunk(void *context, size_t slice, size_t thread) {
  (void)thread;
  mlp_context *c = context;
  size_t first = slice * c->count / c->slices, end = (slice + 1) * c->count / c->slices;
  float *acc = c->acc + slice * c->acc_stride;
  memset(acc, 0, c->job->d * sizeof(float));
  c->rows_read[slice] =
      dejavu_mlp_rows(c->kernels, c->weight_type, c->job, c->rounded, first, end - first, acc);
}

void dejavu_mlp_block(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                      const dejavu_mlp_job *job, size_t count, size_t slices, float *acc,
                      size_t acc_stride, dejavu_rows_read *rows_read, void *rounded) {
  mlp_context context = {kernels, weight_type, job,       count,  slices,
                         acc,     acc_stride,  rows_read, rounded};
  dejavu_round(kernels, weight_type, rounded, job->x, job->d);
  dejavu_team_run(team, mlp_chunk, &context, slices);
}

typedef struct {
  const dejavu_kernels *kernels;
  float *out;
  const float *acc;
  size_t acc_stride, slices, n, chunks;
} reduce_context;

static void reduce_chunk(void *context, size_t chunk, size_t thread) {
  (void)thread;
  reduce_context *c = context;
  size_t blocks = c->n / 32;
  size_t first = chunk * blocks / c->chunks * 32, end = (chunk + 1) * blocks / c->chunks * 32;
  c->kernels->reduce(c->out + first, c->acc + first, c->acc_stride, c->slices, end - first);
}

void dejavu_reduce_parts(dejavu_team *team, const dejavu_kernels *kernels, float *out,
                         const float *acc, size_t acc_stride, size_t slices, size_t n) {
  // Below 128 KiB one thread is done before a second one has started.
  size_t chunks = slices * n >= 32768 ? 4 : 1;
  reduce_context context = {kernels, out, acc, acc_stride, slices, n, chunks};
  dejavu_team_run(team, reduce_chunk, &context, chunks);
}

typedef struct {
  const dejavu_kernels *kernels;
  int32_t weight_type;
  float *y;
  size_t y_stride;
  const char *w;
  size_t w_stride, rows, chunk_rows;
  const float *x;
  size_t x_stride, tokens, d;
  const void *rounded;
} project_context;

static void project_chunk(void *context, size_t chunk, size_t thread) {
  (void)thread;
  project_context *c = context;
  size_t first = chunk * c->chunk_rows;
  size_t rows = c->rows - first < c->chunk_rows ? c->rows - first : c->chunk_rows;
  float *y = c->y + first;
  const char *w = c->w + first * c->w_stride;
  const char *next = first + rows < c->rows ? w + rows * c->w_stride : NULL;
  if (dejavu_is_coded(c->weight_type))
    c->kernels->coded_dot_rows(y, c->y_stride, w, c->w_stride, rows, next, c->rounded,
                               dejavu_rounded_bytes(c->d), c->tokens, c->d, c->weight_type);
  else
    c->kernels->rows[c->weight_type].dot_rows(y, c->y_stride, w, c->w_stride, rows, c->x,
                                              c->x_stride, c->tokens, c->d);
}

void dejavu_project_rows(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                         float *y, size_t y_stride, const void *w, size_t w_stride, size_t rows,
                         const float *x, size_t x_stride, size_t tokens, size_t d,
                         void *rounded) {
  // Four rows are taken together.
  size_t chunk_rows = rows / 32 < 16 ? 16 : rows / 32 / 4 * 4;
  project_context context = {kernels, weight_type, y,        y_stride, w, w_stride, rows,
                             chunk_rows, x,        x_stride, tokens,   d, rounded};
  for (size_t t = 0; t < tokens; t++)
    dejavu_round(kernels, weight_type, (char *)rounded + t * dejavu_rounded_bytes(d),
                 x + t * x_stride, d);
  dejavu_team_run(team, project_chunk, &context, (rows + chunk_rows - 1) / chunk_rows);
}

typedef struct {
  const dejavu_kernels *kernels;
  int32_t in_bf16;
  char *packed;
  const float *a;
  size_t a_stride, tokens, k;
} pack_context;

static void pack_chunk(void *context, size_t panel, size_t thread) {
  (void)thread;
  pack_context *c = context;
  size_t tall = c->kernels->gemm_tile_tokens, first = panel * tall;
  size_t count = c->tokens - first < tall ? c->tokens - first : tall;
  size_t lanes = c->in_bf16 ? (c->k + 1) / 2 : c->k;
  void *out = c->packed + panel * tall * lanes * 4;
  const float *a = c->a + first * c->a_stride;
  if (c->in_bf16 && c->kernels->pack_a_bf16)
    c->kernels->pack_a_bf16(out, a, c->a_stride, count, c->k);
  else
    c->kernels->pack_a(out, a, c->a_stride, count, c->k);
}

void dejavu_pack_tokens(dejavu_team *team, const dejavu_kernels *kernels, int32_t in_bf16,
                        void *packed, const float *a, size_t a_stride, size_t tokens, size_t k) {
  pack_context context = {kernels, in_bf16, packed, a, a_stride, tokens, k};
  size_t tall = kernels->gemm_tile_tokens;
  dejavu_team_run(team, pack_chunk, &context, (tokens + tall - 1) / tall);
}

typedef struct {
  const dejavu_kernels *kernels;
  int32_t weight_type, in_bf16;
  const dejavu_gemm_job *jobs;
  size_t columns, strip, strips;
  char *scratch;
} product_context;

static void product_chunk(void *context, size_t chunk, size_t thread) {
  product_context *c = context;
  const dejavu_gemm_job *job = c->jobs + chunk / c->strips;
  size_t first = chunk % c->strips * c->strip;
  size_t count = c->columns - first < c->strip ? c->columns - first : c->strip;
  float *scratch = (float *)(c->scratch + thread * dejavu_gemm_scratch());
  if (dejavu_is_coded(c->weight_type)) {
    size_t d = job->by_rows ? job->k : c->columns;
    int32_t type = type_of(c->weight_type, job->scales);
    c->kernels->coded_gemm(job, type, d, first, count, scratch);
    return;
  }
  const dejavu_row_kernels *rows = &c->kernels->rows[c->weight_type];
  if (c->in_bf16 && rows->gemm_bf16)
    rows->gemm_bf16(job, first, count, scratch);
  else
    rows->gemm(job, first, count, scratch);
}

void dejavu_product(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                    int32_t in_bf16, const dejavu_gemm_job *job, size_t columns, void *scratch) {
  dejavu_products(team, kernels, weight_type, in_bf16, job, 1, columns, scratch);
}

void dejavu_products(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                     int32_t in_bf16, const dejavu_gemm_job *jobs, size_t count, size_t columns,
                     void *scratch) {
  // Rows of B are long runs already; where B is read across its rows, wider strips make them so.
  size_t strip = jobs->by_rows ? 64 : 256, strips = (columns + strip - 1) / strip;
  product_context context = {kernels, weight_type, in_bf16, jobs, columns, strip, strips, scratch};
  dejavu_team_run(team, product_chunk, &context, count * strips);
}

/// Transposes count × columns elements of `size` bytes; the source runs along our rows.
static void copy_transposed(const dejavu_copy_job *job, size_t first, size_t count, size_t size) {
  enum { TILE = 64 };
  for (size_t r0 = first; r0 < first + count; r0 += TILE) {
    size_t rows = first + count - r0 < TILE ? first + count - r0 : TILE;
    for (size_t c0 = 0; c0 < job->columns; c0 += TILE) {
      size_t columns = job->columns - c0 < TILE ? job->columns - c0 : TILE;
      for (size_t c = c0; c < c0 + columns; c++) {
        const char *from = (const char *)job->from + (c * job->column_stride + r0) * size;
        char *to = (char *)job->to + r0 * job->to_stride + c * size;
        if (size == 2)
          for (size_t r = 0; r < rows; r++) memcpy(to + r * job->to_stride, from + r * 2, 2);
        else
          for (size_t r = 0; r < rows; r++) memcpy(to + r * job->to_stride, from + r * 4, 4);
      }
    }
  }
}

/// Any strides and types, one element at a time.
static void copy_element_wise(const dejavu_kernels *kernels, const dejavu_copy_job *job,
                              const char *source, char *target) {
  size_t in = size_of(job->from_type), out = size_of(job->to_type);
  const dejavu_row_kernels *from = &kernels->rows[job->from_type];
  const dejavu_row_kernels *to = &kernels->rows[job->to_type];
  float wide[256];
  for (size_t c = 0; c < job->columns; c += 256) {
    size_t n = job->columns - c < 256 ? job->columns - c : 256;
    if (job->column_stride == 1) {
      from->widen(wide, source + c * in, n);
    } else {
      for (size_t i = 0; i < n; i++)
        from->widen(wide + i, source + (c + i) * job->column_stride * in, 1);
    }
    to->narrow(target + c * out, wide, n);
  }
}

void dejavu_copy_rows(const dejavu_kernels *kernels, const dejavu_copy_job *job, size_t first,
                      size_t count) {
  size_t in = size_of(job->from_type);
  int same_type = job->from_type == job->to_type;
  if (same_type && job->row_stride == 1 && first + count <= job->block_rows) {
    copy_transposed(job, first, count, in);
    return;
  }
  for (size_t r = first; r < first + count; r++) {
    size_t at = r / job->block_rows * job->block_stride + r % job->block_rows * job->row_stride;
    const char *source = (const char *)job->from + at * in;
    char *target = (char *)job->to + r * job->to_stride;
    if (same_type && job->column_stride == 1)
      memcpy(target, source, job->columns * in);
    else
      copy_element_wise(kernels, job, source, target);
  }
}
