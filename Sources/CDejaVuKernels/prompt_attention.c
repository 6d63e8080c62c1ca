// Causal attention of a run of tokens: two small matrix products per head and block of queries.
#include <math.h>
#include <string.h>

#include "dejavu_blocks.h"

/// Queries of one block; keys past the block's last position are never touched.
enum { QUERY_BLOCK = 48 };

static size_t size_of(int32_t type) { return type == DEJAVU_F32 ? 4 : 2; }
static size_t rounded(size_t n) { return (n + 31) / 32 * 32; }

/// Floats of operand A: queries as wide as a head, then probabilities as many as positions.
static size_t packed_floats(const dejavu_kernels *kernels, size_t padded_h, size_t capacity) {
  size_t k = rounded(capacity) > padded_h ? rounded(capacity) : padded_h;
  return dejavu_packed_a_bytes(kernels, QUERY_BLOCK, k) / 4;
}

size_t dejavu_prompt_attention_scratch(const dejavu_kernels *kernels, size_t padded_h,
                                       size_t capacity) {
  size_t packed = packed_floats(kernels, padded_h, capacity);
  return QUERY_BLOCK * rounded(capacity) + packed + 2 * QUERY_BLOCK * padded_h +
         dejavu_gemm_scratch() / 4;
}

typedef struct {
  float *scores, *packed, *queries, *context, *panel;
} block_scratch;

static block_scratch scratch_of(const dejavu_prompt_attention_job *job, size_t thread) {
  float *base = job->scratch + thread * job->scratch_stride;
  block_scratch s = {.scores = base};
  s.packed = s.scores + QUERY_BLOCK * rounded(job->capacity);
  s.queries = s.packed + packed_floats(job->kernels, job->padded_h, job->capacity);
  s.context = s.queries + QUERY_BLOCK * job->padded_h;
  s.panel = s.context + QUERY_BLOCK * job->padded_h;
  return s;
}

/// Softmax of one query's scores over positions lowest..<end of the visible run; others become 0.
static void softmax_row(const dejavu_prompt_attention_job *job, float *row, size_t first,
                        size_t position, size_t width, float slope) {
  size_t low = first;
  if (job->sliding_window && position + 1 > job->sliding_window + first)
    low = position + 1 - job->sliding_window;
  job->kernels->softmax(row + (low - first), position + 1 - low, job->scale, slope, low);
  for (size_t i = 0; i < low - first; i++) row[i] = 0;
  for (size_t i = position + 1 - first; i < width; i++) row[i] = 0;
}

/// Shows the weights of queries t0..<t0 + count, whose rows begin at position `first`.
static void show_weights(const dejavu_prompt_attention_job *job, size_t head, size_t t0,
                         size_t count, const float *rows, size_t width, size_t first, size_t seen) {
  for (size_t t = 0; t < count; t++) {
    float *row = job->weights + (head * job->tokens + t0 + t) * job->weights_stride;
    memset(row, 0, job->weights_stride * sizeof(float));
    memcpy(row + first, rows + t * width, seen * sizeof(float));
  }
}

/// Queries t0..<t0 + count of one head.
static void attend_block(const dejavu_prompt_attention_job *job, size_t head, size_t t0,
                         size_t count, block_scratch s) {
  const dejavu_row_kernels *cache = &job->kernels->rows[job->cache_type];
  size_t h = job->padded_h, element = size_of(job->cache_type), group = head / job->heads_per_group;
  size_t last = job->first_position + t0 + count - 1, first = 0;
  if (job->sliding_window && job->first_position + t0 + 1 > job->sliding_window)
    first = job->first_position + t0 + 1 - job->sliding_window;
  size_t seen = last + 1 - first, width = rounded(seen);
  size_t at = (group * job->capacity + first) * h * element;
  for (size_t t = 0; t < count; t++) {
    const float *q = job->queries + (t0 + t) * job->q_stride + head * job->h;
    memcpy(s.queries + t * h, q, job->h * sizeof(float));
    memset(s.queries + t * h + job->h, 0, (h - job->h) * sizeof(float));
  }
  job->kernels->pack_a(s.packed, s.queries, h, count, h);
  dejavu_gemm_job scores = {.packed_a = s.packed, .tokens = count, .k = h,
                            .b = (const char *)job->keys + at, .b_stride = h * element,
                            .by_rows = 1, .c = s.scores, .c_stride = width};
  cache->gemm(&scores, 0, seen, s.panel);
  float slope = job->slopes ? job->slopes[head] : 0;
  for (size_t t = 0; t < count; t++)
    softmax_row(job, s.scores + t * width, first, job->first_position + t0 + t, width, slope);
  if (job->weights) show_weights(job, head, t0, count, s.scores, width, first, seen);
  job->kernels->pack_a(s.packed, s.scores, width, count, seen);
  dejavu_gemm_job weigh = {.packed_a = s.packed, .tokens = count, .k = seen,
                           .b = (const char *)job->values + at, .b_stride = h * element,
                           .by_rows = 0, .c = s.context, .c_stride = h};
  cache->gemm(&weigh, 0, h, s.panel);
  for (size_t t = 0; t < count; t++)
    memcpy(job->context + (t0 + t) * job->context_stride + head * job->h, s.context + t * h,
           job->h * sizeof(float));
}

static void prompt_chunk(void *context, size_t chunk, size_t thread) {
  const dejavu_prompt_attention_job *job = context;
  size_t blocks = (job->tokens + QUERY_BLOCK - 1) / QUERY_BLOCK;
  // The last blocks see most positions: they are claimed first.
  size_t head = chunk % (job->groups * job->heads_per_group);
  size_t block = blocks - 1 - chunk / (job->groups * job->heads_per_group);
  size_t t0 = block * QUERY_BLOCK;
  size_t count = job->tokens - t0 < QUERY_BLOCK ? job->tokens - t0 : QUERY_BLOCK;
  attend_block(job, head, t0, count, scratch_of(job, thread));
}

void dejavu_prompt_attention(dejavu_team *team, const dejavu_prompt_attention_job *job) {
  size_t blocks = (job->tokens + QUERY_BLOCK - 1) / QUERY_BLOCK;
  dejavu_team_run(team, prompt_chunk, (void *)job, blocks * job->groups * job->heads_per_group);
}
