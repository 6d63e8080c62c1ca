// One token's attention: whole groups, as many as divide evenly among the threads, and the others in phases
// of finer chunks. Both orders do the same sums, so their results are equal bit for bit.
#include <string.h>
#include <time.h>

#include "dejavu_blocks.h"

typedef struct {
  const dejavu_attention_job *job;
  size_t parts;
  /// The first slice that is computed in phases, and its first entry.
  size_t slice, entry;
} attention_context;

/// Scratch of one group: queries, context, then keys and values of owed positions, then scores.
typedef struct {
  float *queries, *context, *keys, *values, *scores;
} group_scratch;

static size_t size_of(int32_t type) { return type == DEJAVU_F32 ? 4 : 2; }

size_t dejavu_attention_scratch(size_t padded_h, size_t heads_per_group, size_t owed,
                                size_t capacity) {
  return 2 * heads_per_group * padded_h + 2 * owed * padded_h + (capacity + 31) / 32 * 32;
}

static size_t group_at(const dejavu_attention_job *job, size_t entry) {
  return job->list ? (size_t)job->list[entry] : entry;
}

/// The first entry of a slice. Longer slices come first, so that no thread is left with one at the end.
static size_t slice_start(const dejavu_attention_job *job, size_t slice) {
  return (slice * job->count + job->slices - 1) / job->slices;
}

static size_t owed_from(const dejavu_attention_job *job, size_t group) {
  return job->settled ? (size_t)job->settled[group] : job->position;
}

static group_scratch scratch_at(const dejavu_attention_job *job, size_t entry) {
  float *base = job->scratch + entry * job->scratch_stride;
  size_t lanes = job->heads_per_group * job->padded_h;
  size_t owed = job->position + 1 - owed_from(job, group_at(job, entry));
  group_scratch s = {.queries = base, .context = base + lanes, .keys = base + 2 * lanes};
  s.values = s.keys + owed * job->padded_h;
  s.scores = s.values + owed * job->padded_h;
  return s;
}

/// Nanoseconds of a steady clock where somebody asks for them, else 0.
static uint64_t clock_of(const dejavu_attention_job *job) {
  if (!job->times) return 0;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void note_all(const dejavu_attention_job *job, size_t thread, uint64_t start) {
  if (job->times) job->times[thread].all += clock_of(job) - start;
}

static void note_cache(const dejavu_attention_job *job, size_t thread, uint64_t start) {
  if (job->times) job->times[thread].cache += clock_of(job) - start;
}

static const void *row_of(const void *matrix, size_t row, size_t stride) {
  return (const char *)matrix + row * stride;
}

static size_t cache_offset(const dejavu_attention_job *job, size_t group, size_t position) {
  return (group * job->capacity + position) * job->padded_h * size_of(job->cache_type);
}

/// Asks for the beginning of what is streamed next. A head is six streams, and at each the hardware
/// prefetcher starts anew: 4 % of the block with two threads, at a width of 768.
static void fetch_ahead(const void *stream, size_t bytes) {
  for (size_t byte = 0; byte < bytes; byte += 64)
    __builtin_prefetch((const char *)stream + byte, 0, 2);
}

/// The same for rows of weights: kernels of codes ask for their next rows themselves.
static void fetch_rows(const dejavu_attention_job *job, const void *rows) {
  enum { LEAD = 2048 };
  if (!dejavu_is_coded(job->weight_type)) fetch_ahead(rows, LEAD);
}

/// The keys that a group attends to.
static const char *cached_keys(const dejavu_attention_job *job, size_t group) {
  return (const char *)job->keys + cache_offset(job, group, job->first_visible);
}

/// Asks for the first of them.
static void fetch_keys(const dejavu_attention_job *job, size_t group) {
  size_t bytes = cache_offset(job, group, job->position + 1) - cache_offset(job, group, job->first_visible);
  fetch_ahead(cached_keys(job, group), bytes < DEJAVU_CACHE_AHEAD ? bytes : DEJAVU_CACHE_AHEAD);
}

void dejavu_rotate(float *head, const float *cosines, const float *sines, size_t half) {
  for (size_t i = 0; i < half; i++) {
    float a = head[i], b = head[i + half];
    head[i] = a * cosines[i] - b * sines[i];
    head[i + half] = b * cosines[i] + a * sines[i];
  }
}

/// The place of a position among kept inputs, plain or rounded.
static size_t slot_of(const dejavu_attention_job *job, size_t position) {
  return job->window > 0 ? position % job->window : 0;
}

/// Rounds the inputs of every position that a listed group owes, this one's last.
static void round_inputs(const dejavu_attention_job *job) {
  if (!dejavu_is_coded(job->weight_type)) return;
  size_t oldest = job->position, bytes = dejavu_rounded_bytes(job->d);
  for (size_t entry = 0; entry < job->count; entry++) {
    size_t from = owed_from(job, group_at(job, entry));
    if (from < oldest) oldest = from;
  }
  for (size_t p = oldest; p <= job->position; p++) {
    size_t slot = slot_of(job, p);
    const float *x = job->settled && job->kept ? job->kept + slot * job->kept_stride : job->x;
    dejavu_round(job->kernels, job->weight_type, (char *)job->rounded + slot * bytes, x, job->d);
  }
}

/// y[t · y_stride + r] = w[r] · input of position + t, for positions whose inputs lie in a row; `next` are
/// the rows that are read afterwards.
static void project_rows(const dejavu_attention_job *job, float *y, size_t y_stride, const void *w,
                         size_t rows, const void *next, size_t position, size_t positions) {
  size_t slot = slot_of(job, position), bytes = dejavu_rounded_bytes(job->d);
  if (dejavu_is_coded(job->weight_type)) {
    job->kernels->coded_dot_rows(y, y_stride, w, job->row_stride, rows, next,
                                 (const char *)job->rounded + slot * bytes, bytes, positions,
                                 job->d, job->weight_type);
    return;
  }
  const float *x = job->settled && job->kept ? job->kept + slot * job->kept_stride : job->x;
  job->kernels->rows[job->weight_type].dot_rows(y, y_stride, w, job->row_stride, rows, x,
                                                job->kept_stride, positions, job->d);
}

/// Rows first..<first + count of a group's key or value projection for all owed positions.
static void project_owed(const dejavu_attention_job *job, size_t group, const void *matrix,
                         const float *bias, float *out, size_t first, size_t count,
                         const void *next) {
  size_t from = owed_from(job, group), total = job->position + 1 - from;
  const void *w = row_of(matrix, group * job->h + first, job->row_stride);
  for (size_t done = 0; done < total;) {
    size_t position = from + done, run = total - done, slot = slot_of(job, position);
    if (job->window > 0 && run > job->window - slot) run = job->window - slot;
    project_rows(job, out + done * job->padded_h + first, job->padded_h, w, count, next, position, run);
    done += run;
  }
  if (bias)
    for (size_t t = 0; t < total; t++)
      for (size_t r = first; r < first + count; r++)
        out[t * job->padded_h + r] += bias[group * job->h + r];
}

/// Rotates, rounds and stores what was owed.
static void remember(const dejavu_attention_job *job, size_t group, group_scratch s) {
  const dejavu_row_kernels *cache = &job->kernels->rows[job->cache_type];
  size_t from = owed_from(job, group), h = job->padded_h;
  for (size_t p = from; p <= job->position; p++) {
    float *key = s.keys + (p - from) * h, *value = s.values + (p - from) * h;
    if (job->cosines && job->sines)
      dejavu_rotate(key, job->cosines + p * job->rotary_half, job->sines + p * job->rotary_half,
                    job->rotary_half);
    for (size_t i = job->h; i < h; i++) key[i] = value[i] = 0;
    size_t at = cache_offset(job, group, p);
    cache->narrow((char *)job->keys + at, key, h);
    cache->narrow((char *)job->values + at, value, h);
  }
}

static void project_queries(const dejavu_attention_job *job, size_t group, float *queries,
                            size_t first, size_t count, const void *next) {
  for (size_t lane = first; lane < first + count;) {
    // Heads are padded in scratch, so a run of rows ends with its head.
    size_t head = lane / job->h, offset = lane % job->h, run = job->h - offset;
    if (run > first + count - lane) run = first + count - lane;
    size_t row = group * job->heads_per_group * job->h + lane;
    float *out = queries + head * job->padded_h + offset;
    const void *own = row_of(job->query, row, job->row_stride);
    const void *then = lane + run < first + count ? row_of(own, run, job->row_stride) : next;
    project_rows(job, out, 0, own, run, then, job->position, 1);
    for (size_t i = 0; job->query_bias && i < run; i++) out[i] += job->query_bias[row + i];
    lane += run;
  }
}

/// One group's context; `next` is what is read afterwards, or NULL.
static void attend_group(const dejavu_attention_job *job, size_t group, group_scratch s,
                         const void *next) {
  const dejavu_row_kernels *cache = &job->kernels->rows[job->cache_type];
  size_t h = job->padded_h, first = job->first_visible, seen = job->position + 1 - first;
  size_t at = cache_offset(job, group, first);
  for (size_t i = 0; i < job->heads_per_group; i++) {
    float *query = s.queries + i * h, *context = s.context + i * h;
    for (size_t lane = job->h; lane < h; lane++) query[lane] = 0;
    if (job->cosines && job->sines)
      dejavu_rotate(query, job->cosines + job->position * job->rotary_half,
                    job->sines + job->position * job->rotary_half, job->rotary_half);
    float slope = job->slopes ? job->slopes[group * job->heads_per_group + i] : 0;
    const char *keys = (const char *)job->keys + at, *values = (const char *)job->values + at;
    float max = cache->scores(s.scores, query, keys, seen, h, job->scale, slope, values);
    float sum = job->kernels->exponentiate(s.scores, seen, max);
    cache->weigh(context, s.scores, values, seen, h, i + 1 < job->heads_per_group ? keys : next);
    for (size_t lane = 0; lane < h; lane++) context[lane] /= sum;
  }
}

/// acc[columns] += context · output rows of one group, columns first..<first + count.
static void project_output(const dejavu_attention_job *job, size_t group, const float *context,
                           float *acc, size_t first, size_t count, const void *next) {
  for (size_t i = 0; i < job->heads_per_group; i++) {
    size_t row = (group * job->heads_per_group + i) * job->h;
    const void *own = row_of(job->output, row, job->row_stride);
    const void *then =
        i + 1 < job->heads_per_group ? row_of(own, job->h, job->row_stride) : next;
    dejavu_add_rows(job->kernels, job->weight_type, acc, own, job->row_stride,
                    context + i * job->padded_h, job->h, then, first, first + count, job->d,
                    job->output_scales, row);
  }
}

static const void *rows_at(const dejavu_attention_job *job, const void *matrix, size_t entry, size_t rows) {
  return row_of(matrix, group_at(job, entry) * rows, job->row_stride);
}

static const void *first_query(const dejavu_attention_job *job, size_t entry) {
  return rows_at(job, job->query, entry, job->heads_per_group * job->h);
}
static const void *first_key(const dejavu_attention_job *job, size_t entry) {
  return rows_at(job, job->key, entry, job->h);
}
static const void *first_value(const dejavu_attention_job *job, size_t entry) {
  return rows_at(job, job->value, entry, job->h);
}
static const void *first_output(const dejavu_attention_job *job, size_t entry) {
  return rows_at(job, job->output, entry, job->heads_per_group * job->h);
}

static void settle_keys(const dejavu_attention_job *job, size_t entry, const void *next) {
  project_owed(job, group_at(job, entry), job->key, job->key_bias, scratch_at(job, entry).keys, 0, job->h,
               next);
}

static void settle_values(const dejavu_attention_job *job, size_t entry, const void *next) {
  project_owed(job, group_at(job, entry), job->value, job->value_bias, scratch_at(job, entry).values, 0,
               job->h, next);
}

// Fused: a chunk is one slice of the list ---------------------------------------------------------

/// What a group's attention finds not yet asked for of its output rows: products of codes ask for eight rows
/// beyond their own, sums of rows for those from the sixteenth on.
static const void *unasked_output(const dejavu_attention_job *job, size_t entry) {
  const void *rows = first_output(job, entry);
  return dejavu_is_coded(job->weight_type) && job->h > 8 ? row_of(rows, 8, job->row_stride) : rows;
}

/// Queries, keys and values of entries first..<end, matrix by matrix.
static void project_stage(const dejavu_attention_job *job, size_t first, size_t end) {
  fetch_rows(job, first_key(job, first));
  for (size_t e = first; e < end; e++)
    project_queries(job, group_at(job, e), scratch_at(job, e).queries, 0, job->heads_per_group * job->h,
                    e + 1 < end ? first_query(job, e + 1) : first_key(job, first));
  fetch_rows(job, first_value(job, first));
  for (size_t e = first; e < end; e++)
    settle_keys(job, e, e + 1 < end ? first_key(job, e + 1) : first_value(job, first));
  fetch_keys(job, group_at(job, first));
  for (size_t e = first; e < end; e++)
    settle_values(job, e, e + 1 < end ? first_value(job, e + 1) : first_output(job, first));
}

static void attend_stage(const dejavu_attention_job *job, size_t first, size_t end, size_t thread) {
  for (size_t e = first; e < end; e++) {
    size_t group = group_at(job, e);
    remember(job, group, scratch_at(job, e));
    uint64_t attending = clock_of(job);
    attend_group(job, group, scratch_at(job, e),
                 e + 1 < end ? cached_keys(job, group_at(job, e + 1)) : unasked_output(job, first));
    note_cache(job, thread, attending);
  }
}

/// Groups whose rows are read matrix by matrix. A run of coded rows is worth more than what of it is still
/// in the cache: heads one by one come at 23 GB/s where four of them come at 26.5, and matrices at 27. Plain
/// rows gain nothing.
static size_t stage_of(const dejavu_attention_job *job) { return dejavu_is_coded(job->weight_type) ? 4 : 1; }

static void fused_chunk(void *context, size_t slice, size_t thread) {
  const dejavu_attention_job *job = ((attention_context *)context)->job;
  uint64_t start = clock_of(job);
  float *acc = job->acc + slice * job->acc_stride;
  memset(acc, 0, job->d * sizeof(float));
  size_t last = slice_start(job, slice + 1), stage = stage_of(job);
  for (size_t first = slice_start(job, slice), end; first < last; first = end) {
    end = last - first < stage ? last : first + stage;
    project_stage(job, first, end);
    attend_stage(job, first, end, thread);
    const void *next = end < last ? first_query(job, end) : NULL;
    if (next) fetch_rows(job, next);
    for (size_t e = first; e < end; e++)
      project_output(job, group_at(job, e), scratch_at(job, e).context, acc, 0, job->d,
                     e + 1 < end ? first_output(job, e + 1) : next);
  }
  note_all(job, thread, start);
}

// In phases: chunks finer than a group ------------------------------------------------------------

/// Part p of a group's query, key and value rows.
static void project_chunk(void *context, size_t chunk, size_t thread) {
  attention_context *c = context;
  const dejavu_attention_job *job = c->job;
  uint64_t start = clock_of(job);
  size_t entry = c->entry + chunk / c->parts, part = chunk % c->parts, group = group_at(job, entry);
  group_scratch s = scratch_at(job, entry);
  size_t lanes = job->heads_per_group * job->h;
  size_t q0 = part * lanes / c->parts, q1 = (part + 1) * lanes / c->parts;
  size_t k0 = part * job->h / c->parts, k1 = (part + 1) * job->h / c->parts;
  project_queries(job, group, s.queries, q0, q1 - q0,
                  row_of(job->key, group * job->h + k0, job->row_stride));
  project_owed(job, group, job->key, job->key_bias, s.keys, k0, k1 - k0,
               row_of(job->value, group * job->h + k0, job->row_stride));
  project_owed(job, group, job->value, job->value_bias, s.values, k0, k1 - k0, NULL);
  note_all(job, thread, start);
}

static void attend_chunk(void *context, size_t chunk, size_t thread) {
  attention_context *c = context;
  const dejavu_attention_job *job = c->job;
  size_t entry = c->entry + chunk, group = group_at(job, entry);
  group_scratch s = scratch_at(job, entry);
  uint64_t start = clock_of(job);
  remember(job, group, s);
  uint64_t attending = clock_of(job);
  attend_group(job, group, s, NULL);
  note_cache(job, thread, attending);
  note_all(job, thread, start);
}

/// Columns that the output rows' parts are cut at: codes come in blocks.
static size_t output_unit(const dejavu_attention_job *job) {
  return dejavu_is_coded(job->weight_type) ? 128 : 32;
}

/// Columns of part p of one slice's output rows.
static void output_chunk(void *context, size_t chunk, size_t thread) {
  attention_context *c = context;
  const dejavu_attention_job *job = c->job;
  uint64_t start = clock_of(job);
  size_t slice = c->slice + chunk / c->parts, part = chunk % c->parts, unit = output_unit(job);
  size_t blocks = (job->d + unit - 1) / unit;
  size_t first = part * blocks / c->parts * unit, end = (part + 1) * blocks / c->parts * unit;
  if (end > job->d) end = job->d;
  float *acc = job->acc + slice * job->acc_stride;
  memset(acc + first, 0, (end - first) * sizeof(float));
  size_t last = slice_start(job, slice + 1);
  for (size_t entry = slice_start(job, slice); entry < last; entry++)
    project_output(job, group_at(job, entry), scratch_at(job, entry).context, acc, first, end - first,
                   entry + 1 < last ? first_output(job, entry + 1) : NULL);
  note_all(job, thread, start);
}

/// Slices that are computed whole: all where each thread has many, else as many as leave no thread idle. In
/// phases rows come at four fifths of the speed.
static size_t whole_slices(const dejavu_attention_job *job, size_t threads) {
  size_t slices = job->slices;
  while (job->count < 16 * threads && slice_start(job, slices) % threads > 0) slices--;
  return slices;
}

void dejavu_attention_block(dejavu_team *team, const dejavu_attention_job *job, size_t threads) {
  if (job->count == 0) return;
  attention_context context = {.job = job, .parts = 4, .slice = whole_slices(job, threads)};
  context.entry = slice_start(job, context.slice);
  round_inputs(job);
  dejavu_team_run(team, fused_chunk, &context, context.slice);
  dejavu_team_run(team, project_chunk, &context, (job->count - context.entry) * context.parts);
  dejavu_team_run(team, attend_chunk, &context, job->count - context.entry);
  dejavu_team_run(team, output_chunk, &context, (job->slices - context.slice) * context.parts);
}

static void settle_chunk(void *context, size_t entry, size_t thread) {
  (void)thread;
  const dejavu_attention_job *job = ((attention_context *)context)->job;
  fetch_rows(job, first_value(job, entry));
  settle_keys(job, entry, first_value(job, entry));
  settle_values(job, entry, NULL);
  remember(job, group_at(job, entry), scratch_at(job, entry));
}

void dejavu_attention_settle(dejavu_team *team, const dejavu_attention_job *job) {
  attention_context context = {.job = job};
  round_inputs(job);
  dejavu_team_run(team, settle_chunk, &context, job->count);
}
