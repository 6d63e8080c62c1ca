// Rows of codes that share scales with their neighbours, and how sums of rows end.
//
// Checkpoints of GPTQ and AWQ have a scale for a group of inputs and one output. Where rows are the
// inputs of a product (W_O, W2) that is a row of scales for a group of rows:
//   acc[c] += scale[c] · (Σ_r a_r · code[r, c] − zero[c] · Σ_r a_r).
// Codes are summed with factors that have no scale, so the sums of a group are exact integers times
// one step for four rows; the row of scales is read when the group ends, and not at all where no row
// of it was added.

/// The scales of a group, as a row with one group for each column and no codes.
static inline coded_shape scales_of(const coded_shape *s) {
  return (coded_shape){.bits = s->bits, .group = 1, .has_zeros = 1,
                       .groups = s->blocks * CODED_BLOCK, .zero_bytes = s->bits == 8 ? 2 : 1};
}

/// Adds the sum of codes to the result by the scales of its group.
static void fold_sum(coded_sum *sum, const coded_shape *s) {
  coded_shape of = scales_of(s);
  // The zeros of all columns were 1.
  vf less = vset(sum->offsets[0]);
  for (size_t c = sum->first; c < sum->end; c += CODED_RUN) {
    float scales[CODED_RUN], zeros[CODED_RUN];
    load_groups(scales, zeros, sum->shared, &of, c, CODED_RUN);
    for (size_t i = 0; i < CODED_RUN; i += VW) {
      vf whole = vfma(vload(zeros + i), less, vload(sum->acc + c + i));
      vstore(sum->target + c + i, vfma(whole, vload(scales + i), vload(sum->target + c + i)));
      vstore(sum->acc + c + i, vzero());
    }
  }
}

/// Adds what zeros subtract to the columns of their groups, or the sum of codes to the result.
static void finish_sum(coded_sum *sum, const coded_shape *s) {
  if (sum->rows == 0) return;
  if (s->shared) fold_sum(sum, s);
  for (size_t c = sum->first; !s->shared && c < sum->end; c += VW)
    vstore(sum->acc + c,
           vadd(vload(sum->acc + c), vset(sum->offsets[c / (size_t)s->group])));
  memset(sum->offsets, 0, coded_runs(s) * sizeof(float));
  sum->rows = 0;
}

static inline const uint8_t *shared_row(dejavu_scale_rows scales, size_t row) {
  return (const uint8_t *)scales.base + row / scales.group * scales.stride;
}

/// What rows from now on share; those of another group have been finished.
static inline void enter_group(coded_sum *sum, const coded_shape *s, const uint8_t *shared) {
  if (sum->shared == shared) return;
  finish_sum(sum, s);
  sum->shared = shared;
}

/// Asks for a row of scales.
static inline void ask_for_shared(const uint8_t *shared, const coded_shape *s) {
  coded_shape of = scales_of(s);
  for (size_t at = 0; at < of.groups * (2 + of.zero_bytes); at += 64)
    __builtin_prefetch(shared + at, 0, 2);
}

/// Turns codes of columns first..<end into weights.
static void share_scales(float *out, const uint8_t *shared, const coded_shape *s, size_t first,
                         size_t end) {
  coded_shape of = scales_of(s);
  for (size_t c = first; c < end; c += CODED_RUN) {
    float scales[CODED_RUN], zeros[CODED_RUN];
    size_t count = end - c < CODED_RUN ? end - c : CODED_RUN;
    load_groups(scales, zeros, shared, &of, c, count);
    for (size_t i = 0; i < count; i++) {
      float *at = out + (c - first) + i;
      *at = (*at - zeros[i]) * scales[i];
    }
  }
}
