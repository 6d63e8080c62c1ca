// Choosing rows by the scores of coded rows, and making such rows.
#include <math.h>
#include <string.h>

#include "dejavu_blocks.h"
#include "kernels/coded_place.h"

enum { MOST_PARTS = 16, LEAST_PART_BYTES = 128 << 10, LEAST_ROWS = 64 };

static size_t rounded(size_t n) { return (n + 31) / 32 * 32; }

size_t dejavu_choose_scratch(size_t rows, size_t d) {
  // Scores, a copy for selecting the highest, the rounded vector.
  return 2 * rounded(rows) + dejavu_rounded_bytes(d) / sizeof(float);
}

typedef struct {
  float *scores, *copy;
  void *x;
} token_scratch;

static token_scratch scratch_of(const dejavu_choose_job *job, size_t token) {
  float *base = job->scratch + token * job->scratch_stride;
  size_t rows = rounded(job->rows);
  return (token_scratch){.scores = base, .copy = base + rows, .x = base + 2 * rows};
}

static void round_vector(const dejavu_choose_job *job, size_t token) {
  int32_t format = DEJAVU_CODED(job->weights.bits, 1, 0) | DEJAVU_NARROW;
  job->kernels->coded_round(scratch_of(job, token).x, job->x + token * job->x_stride,
                            job->weights.d, format);
}

static void score_rows(const dejavu_choose_job *job, size_t token, size_t first, size_t count) {
  token_scratch s = scratch_of(job, token);
  job->kernels->coded_scores(s.scores, &job->weights, s.x, first, count);
}

static size_t gather(int32_t *list, const float *scores, size_t first, size_t count,
                     float threshold) {
  size_t chosen = 0;
  for (size_t r = first; r < first + count; r++) {
    list[chosen] = (int32_t)r;
    chosen += scores[r] > threshold;
  }
  return chosen;
}

/// v[target] of v in descending order, by quickselect; v is rearranged.
static float select_score(float *v, size_t count, size_t target) {
  size_t low = 0, high = count - 1;
  while (low < high) {
    float pivot = v[low + (high - low) / 2];
    size_t i = low, j = high;
    for (;;) {
      while (v[i] > pivot) i++;
      while (v[j] < pivot) j--;
      if (i >= j) break;
      float t = v[i];
      v[i++] = v[j];
      v[j--] = t;
    }
    if (target <= j) high = j;
    else low = j + 1;
  }
  return v[target];
}

float dejavu_greatest_left_out(float *v, size_t count, size_t keep) {
  return keep >= count ? -INFINITY : select_score(v, count, keep);
}

/// Copies the scores that are at least `least`; returns how many.
static size_t copy_from(float *out, const float *scores, size_t count, float least) {
  size_t kept = 0;
  for (size_t r = 0; r < count; r++) {
    out[kept] = scores[r];
    kept += scores[r] >= least;
  }
  return kept;
}

/// The threshold that `keep` scores lie above.
///
/// A sample of the scores gives a floor that a few more than `keep` of them reach, so that only
/// those need be put in order. A floor that proves too high falls back to all of them.
static float threshold_of(const dejavu_choose_job *job, token_scratch s) {
  enum { STRIDE = 16 };
  if (job->keep >= job->rows) return -INFINITY;
  size_t samples = job->rows / STRIDE, count = 0;
  // Two standard deviations of the sampled rank, at least, above the rank that is sought.
  size_t rank = job->keep / STRIDE, margin = 2 + rank / 8;
  while (margin * margin < 4 * rank) margin++;
  if (rank + margin < samples / 2) {
    for (size_t i = 0; i < samples; i++) s.copy[i] = s.scores[i * STRIDE];
    float floor = select_score(s.copy, samples, rank + margin);
    count = copy_from(s.copy, s.scores, job->rows, floor);
  }
  if (count <= job->keep) {
    memcpy(s.copy, s.scores, job->rows * sizeof(float));
    count = job->rows;
  }
  return select_score(s.copy, count, job->keep);
}

static void list_rows(const dejavu_choose_job *job, size_t token) {
  token_scratch s = scratch_of(job, token);
  float threshold = job->keep > 0 ? threshold_of(job, s) : job->threshold;
  job->counts[token] = gather(job->lists + token * job->rows, s.scores, 0, job->rows, threshold);
}

static void token_chunk(void *context, size_t token, size_t thread) {
  (void)thread;
  const dejavu_choose_job *job = context;
  round_vector(job, token);
  score_rows(job, token, 0, job->rows);
  list_rows(job, token);
}

/// Pieces that one token's rows are claimed in: each begins with a wait for memory, so small
/// matrices have few.
static size_t parts_of(const dejavu_choose_job *job) {
  size_t parts = job->rows * job->weights.stride / LEAST_PART_BYTES;
  return parts < 4 ? 4 : parts > MOST_PARTS ? MOST_PARTS : parts;
}

static size_t first_of(const dejavu_choose_job *job, size_t part) {
  return part * job->rows / parts_of(job);
}

static void score_part(const dejavu_choose_job *job, size_t part) {
  score_rows(job, 0, first_of(job, part), first_of(job, part + 1) - first_of(job, part));
}

/// Scores a part of the rows and, where the threshold is known, lists those above it where the
/// part begins.
static void part_chunk(void *context, size_t part, size_t thread) {
  (void)thread;
  const dejavu_choose_job *job = context;
  score_part(job, part);
  if (job->keep > 0) return;
  size_t first = first_of(job, part), count = first_of(job, part + 1) - first;
  size_t *chosen = (size_t *)scratch_of(job, 0).copy;
  chosen[part] =
      gather(job->lists + first, scratch_of(job, 0).scores, first, count, job->threshold);
}

/// Moves the lists of equal parts together.
static void join_lists(const dejavu_choose_job *job, size_t parts) {
  const size_t *chosen = (const size_t *)scratch_of(job, 0).copy;
  size_t total = 0;
  for (size_t part = 0; part < parts; part++) {
    const int32_t *list = job->lists + part * job->rows / parts;
    memmove(job->lists + total, list, chosen[part] * sizeof(int32_t));
    total += chosen[part];
  }
  job->counts[0] = total;
}

static void project_part(void *context, size_t part, size_t thread) {
  (void)thread;
  score_part(context, part);
}

void dejavu_choose(dejavu_team *team, const dejavu_choose_job *job) {
  if (job->tokens > 1 || job->rows < LEAST_ROWS) {
    dejavu_team_run(team, token_chunk, (void *)job, job->tokens);
    return;
  }
  dejavu_choose_begin(job);
  dejavu_choose_finish(team, job);
}

int32_t dejavu_choose_waits(const dejavu_choose_job *job) {
  return job->tokens == 1 && job->rows >= LEAST_ROWS && job->keep == 0;
}

void dejavu_choose_begin(const dejavu_choose_job *job) { round_vector(job, 0); }

void dejavu_choose_finish(dejavu_team *team, const dejavu_choose_job *job) {
  dejavu_team_run(team, part_chunk, (void *)job, parts_of(job));
  if (job->keep > 0) list_rows(job, 0);
  else join_lists(job, parts_of(job));
}

typedef struct {
  const dejavu_choose_job *choice;
  const dejavu_mlp_job *mlp;
  int32_t weight_type;
  size_t slices;
  float *acc;
  size_t acc_stride;
  dejavu_rows_read *rows_read;
  const void *rounded;
} chosen_context;

/// Asks for a neuron's up row ahead of its product.
static void fetch_row(const dejavu_mlp_job *job, size_t neuron) {
  size_t first = job->nested ? job->nested->low_bytes : job->row_stride;
  size_t others = (job->gated ? 2 : 1) * job->row_stride;
  const char *row = (const char *)job->bundle + neuron * (first + others);
  for (size_t byte = 0; byte < first; byte += 64) __builtin_prefetch(row + byte);
}

/// Scores a range of neurons and lists those above the threshold; memory fetches the first of them
/// while the second half is scored.
static size_t choose_range(const chosen_context *c, size_t first, size_t count) {
  const dejavu_choose_job *choice = c->choice;
  float *scores = scratch_of(choice, 0).scores;
  int32_t *list = choice->lists + first;
  size_t half = count / 2;
  score_rows(choice, 0, first, half);
  size_t chosen = gather(list, scores, first, half, choice->threshold);
  if (chosen > 0) fetch_row(c->mlp, (size_t)list[0]);
  score_rows(choice, 0, first + half, count - half);
  return chosen + gather(list + chosen, scores, first + half, count - half, choice->threshold);
}

/// Scores a range of neurons, lists those above the threshold and computes them at once.
static void chosen_chunk(void *context, size_t slice, size_t thread) {
  (void)thread;
  const chosen_context *c = context;
  size_t first = slice * c->choice->rows / c->slices;
  size_t count = (slice + 1) * c->choice->rows / c->slices - first;
  size_t chosen = choose_range(c, first, count);
  ((size_t *)scratch_of(c->choice, 0).copy)[slice] = chosen;
  dejavu_mlp_job job = *c->mlp;
  job.list = c->choice->lists + first;
  float *acc = c->acc + slice * c->acc_stride;
  memset(acc, 0, job.d * sizeof(float));
  c->rows_read[slice] = dejavu_mlp_rows(c->choice->kernels, c->weight_type, &job, c->rounded, 0,
                                        chosen, acc);
}

void dejavu_chosen_mlp_block(dejavu_team *team, int32_t weight_type,
                             const dejavu_choose_job *choice, const dejavu_mlp_job *job,
                             size_t slices, float *acc, size_t acc_stride,
                             dejavu_rows_read *rows_read, void *rounded) {
  chosen_context context = {choice, job,        weight_type, slices,
                            acc,    acc_stride, rows_read,   rounded};
  dejavu_round(choice->kernels, weight_type, rounded, job->x, job->d);
  dejavu_team_run(team, chosen_chunk, &context, slices);
  join_lists(choice, slices);
}

static dejavu_choose_job scoring_of(const dejavu_groupwise_job *job) {
  return (dejavu_choose_job){.kernels = job->kernels, .weights = job->weights, .rows = job->rows,
                             .x = job->x, .x_stride = job->x_stride, .tokens = job->tokens,
                             .scratch = job->scratch, .scratch_stride = job->scratch_stride};
}

static void copy_scores(const dejavu_groupwise_job *job, const dejavu_choose_job *scoring,
                        size_t token) {
  memcpy(job->y + token * job->y_stride, scratch_of(scoring, token).scores,
         job->rows * sizeof(float));
}

static void project_chunk(void *context, size_t token, size_t thread) {
  (void)thread;
  const dejavu_groupwise_job *job = context;
  dejavu_choose_job scoring = scoring_of(job);
  round_vector(&scoring, token);
  score_rows(&scoring, token, 0, job->rows);
  copy_scores(job, &scoring, token);
}

void dejavu_groupwise_project(dejavu_team *team, const dejavu_groupwise_job *job) {
  if (job->tokens > 1 || job->rows < LEAST_ROWS) {
    dejavu_team_run(team, project_chunk, (void *)job, job->tokens);
    return;
  }
  dejavu_choose_job scoring = scoring_of(job);
  round_vector(&scoring, 0);
  dejavu_team_run(team, project_part, &scoring, parts_of(&scoring));
  copy_scores(job, &scoring, 0);
}

static uint16_t half_of(float value) {
  uint16_t bits;
  dejavu_kernels_for(DEJAVU_SCALAR)->rows[DEJAVU_F16].narrow(&bits, &value, 1);
  return bits;
}

static float float_of(uint16_t bits) {
  float value;
  dejavu_kernels_for(DEJAVU_SCALAR)->rows[DEJAVU_F16].widen(&value, &bits, 1);
  return value;
}

enum { ERROR_LANES = 8 };

/// Nearest codes of one group, as floats: loops without calls or branches, which become vectors.
static void codes_of(float codes[DEJAVU_GROUP], const float *values, float scale, float middle,
                     int32_t levels) {
  // Below zero is the code 0 and above the last level that level; in between the cast rounds down.
  float most = (float)levels - 0.5f;
  for (size_t i = 0; i < DEJAVU_GROUP; i++) {
    float code = scale == 0 ? (float)(levels / 2) : values[i] / scale + middle + 0.5f;
    code = code > 0 ? code : 0;
    code = code < most ? code : most;
    codes[i] = (float)(int32_t)code;
  }
}

/// Squared error of one group under a scale.
static float error_of(const float *values, float scale, float middle, int32_t levels) {
  float codes[DEJAVU_GROUP], sums[ERROR_LANES] = {0}, error = 0;
  codes_of(codes, values, scale, middle, levels);
  for (size_t i = 0; i < DEJAVU_GROUP; i += ERROR_LANES)
    for (size_t lane = 0; lane < ERROR_LANES; lane++) {
      float off = values[i + lane] - (codes[i + lane] - middle) * scale;
      sums[lane] += off * off;
    }
  for (size_t lane = 0; lane < ERROR_LANES; lane++) error += sums[lane];
  return error;
}

/// The half-precision scale of one group with the least squared error.
static uint16_t scale_of(const float *values, float middle, int32_t levels) {
  const float greatest_half = 65504;
  float greatest = 0, least = INFINITY;
  for (size_t i = 0; i < DEJAVU_GROUP; i++)
    greatest = fabsf(values[i]) > greatest ? fabsf(values[i]) : greatest;
  float whole = fminf(greatest / middle, greatest_half);
  uint16_t best = half_of(whole);
  for (int step = 0; step < 12; step++) {
    uint16_t bits = half_of(whole * (1 - 0.05f * (float)step));
    float error = error_of(values, float_of(bits), middle, levels);
    if (error < least) {
      least = error;
      best = bits;
    }
    if (levels > 16) break;
  }
  return best;
}

void dejavu_quantize_row(void *out, const float *row, size_t d, int32_t bits) {
  uint16_t *scales =
      (uint16_t *)out + (d + CODED_BLOCK - 1) / CODED_BLOCK * 8 * (size_t)bits;
  int32_t levels = 1 << bits;
  float middle = (float)(levels - 1) / 2;
  memset(out, 0, dejavu_groupwise_bytes(d, bits));
  for (size_t g = 0; g < d / DEJAVU_GROUP; g++) {
    const float *values = row + g * DEJAVU_GROUP;
    scales[g] = scale_of(values, middle, levels);
    float group[DEJAVU_GROUP];
    codes_of(group, values, float_of(scales[g]), middle, levels);
    for (size_t i = 0; i < DEJAVU_GROUP; i++)
      put_code(out, g * DEJAVU_GROUP + i, (int32_t)group[i], bits);
  }
}
