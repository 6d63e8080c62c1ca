// Matrix products with bfloat16 operands and float32 sums (AVX512_BF16); included per stored type.
//
// As gemm.h, with operands in pairs: A is [panel][k / 2][GEMM_MR] and B is [kc / 2][GEMM_NR],
// each element two neighbouring k in one 32-bit lane.

/// Packs n rows of B[n][kc] in pairs.
static inline void NAME(pack_rows_bf16)(uint32_t *out, const char *b, size_t stride, size_t n,
                                        size_t kc) {
  for (size_t n0 = 0; n0 < GEMM_NR; n0 += VW) {
    const ELEM *rows[VW];
    for (size_t r = 0; r < VW; r++)
      rows[r] = (const ELEM *)(b + (n0 + r < n ? n0 + r : n - 1) * stride);
    for (size_t k = 0; k < kc; k += 2 * VW) {
      vf block[VW];
      for (size_t r = 0; r < VW; r++) block[r] = NAME(load_pairs)(rows[r] + k);
      vtranspose(block);
      for (size_t r = 0; r < VW; r++)
        vstore((float *)(out + (k / 2 + r) * GEMM_NR + n0), block[r]);
    }
  }
}

/// Packs kc rows of B[kc][n] in pairs of rows.
static inline void NAME(pack_columns_bf16)(uint32_t *out, const char *b, size_t stride, size_t n,
                                           size_t kc) {
  for (size_t k = 0; k < kc; k += 2) {
    const ELEM *row = (const ELEM *)(b + k * stride);
    const ELEM *next = (const ELEM *)(b + (k + 1) * stride);
    if (n == GEMM_NR && k + 1 < kc) {
      for (size_t j = 0; j < GEMM_NR; j += VW)
        vstore((float *)(out + k / 2 * GEMM_NR + j), NAME(pair_rows)(row + j, next + j));
      continue;
    }
    float first[GEMM_NR] = {0}, second[GEMM_NR] = {0};
    NAME(widen)(first, row, n);
    if (k + 1 < kc) NAME(widen)(second, next, n);
    for (size_t j = 0; j < GEMM_NR; j += VW)
      vstore((float *)(out + k / 2 * GEMM_NR + j), vpair(vload(first + j), vload(second + j)));
  }
}

static void NAME(gemm_bf16)(const dejavu_gemm_job *job, size_t n0, size_t count, float *scratch) {
  size_t panels = (job->tokens + GEMM_MR - 1) / GEMM_MR, pairs = (job->k + 1) / 2;
  uint32_t *packed = (uint32_t *)scratch;
  for (size_t k0 = 0; k0 < job->k; k0 += 2 * GEMM_KC) {
    size_t kc = job->k - k0 < 2 * GEMM_KC ? job->k - k0 : 2 * GEMM_KC;
    int accumulates = job->accumulates || k0 > 0;
    for (size_t n = n0; n < n0 + count; n += GEMM_NR) {
      size_t width = n0 + count - n < GEMM_NR ? n0 + count - n : GEMM_NR;
      const char *b = (const char *)job->b;
      if (job->by_rows)
        NAME(pack_rows_bf16)(packed, b + n * job->b_stride + k0 * sizeof(ELEM), job->b_stride,
                             width, kc);
      else
        NAME(pack_columns_bf16)(packed, b + k0 * job->b_stride + n * sizeof(ELEM), job->b_stride,
                                width, kc);
      for (size_t p = 0; p < panels; p++) {
        const uint32_t *a = (const uint32_t *)job->packed_a + (p * pairs + k0 / 2) * GEMM_MR;
        size_t tall = job->tokens - p * GEMM_MR;
        gemm_tile_bf16(job->c + p * GEMM_MR * job->c_stride + n, job->c_stride, a, packed,
                       (kc + 1) / 2, tall < GEMM_MR ? tall : GEMM_MR, width, accumulates);
        if (k0 + kc == job->k) finish_tile(job, p * GEMM_MR, n, width);
      }
    }
  }
}
