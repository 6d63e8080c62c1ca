// Matrix products for the prompt phase; included by each isa_*.c once per stored type.
//
// A is packed in panels of GEMM_MR tokens: [panel][k][GEMM_MR]. B is packed by the thread that
// needs it, GEMM_KC × GEMM_NR at a time, widening on the way, so no float copy of the weights
// exists. One panel of B is used for all tokens while it is in cache.

/// Packs n rows of B[n][k0..<k0 + kc] into [kc][GEMM_NR], transposing VW × VW blocks.
static inline void NAME(pack_rows)(float *out, const char *b, size_t stride, size_t n, size_t kc) {
  for (size_t n0 = 0; n0 < GEMM_NR; n0 += VW) {
    const ELEM *rows[VW];
    for (size_t r = 0; r < VW; r++)
      rows[r] = (const ELEM *)(b + (n0 + r < n ? n0 + r : n - 1) * stride);
    size_t k = 0;
    for (; k + VW <= kc; k += VW) {
      vf block[VW];
      for (size_t r = 0; r < VW; r++) block[r] = LOADV(rows[r] + k);
      vtranspose(block);
      for (size_t r = 0; r < VW; r++) vstore(out + (k + r) * GEMM_NR + n0, block[r]);
    }
    for (; k < kc; k++)
      for (size_t r = 0; r < VW; r++) {
        float wide;
        NAME(widen)(&wide, rows[r] + k, 1);
        out[k * GEMM_NR + n0 + r] = wide;
      }
  }
}

/// Packs B[k0..<k0 + kc][n] into [kc][GEMM_NR]; columns past n become 0.
static inline void NAME(pack_columns)(float *out, const char *b, size_t stride, size_t n,
                                      size_t kc) {
  for (size_t k = 0; k < kc; k++) {
    const ELEM *row = (const ELEM *)(b + k * stride);
    float *to = out + k * GEMM_NR;
    if (n == GEMM_NR) {
      for (size_t j = 0; j < GEMM_NR; j += VW) vstore(to + j, LOADV(row + j));
    } else {
      memset(to, 0, GEMM_NR * sizeof(float));
      NAME(widen)(to, row, n);
    }
  }
}

static void NAME(gemm)(const dejavu_gemm_job *job, size_t n0, size_t count, float *scratch) {
  size_t panels = (job->tokens + GEMM_MR - 1) / GEMM_MR;
  for (size_t k0 = 0; k0 < job->k; k0 += GEMM_KC) {
    size_t kc = job->k - k0 < GEMM_KC ? job->k - k0 : GEMM_KC;
    int accumulates = job->accumulates || k0 > 0;
    for (size_t n = n0; n < n0 + count; n += GEMM_NR) {
      size_t width = n0 + count - n < GEMM_NR ? n0 + count - n : GEMM_NR;
      const char *b = (const char *)job->b;
      if (job->by_rows)
        NAME(pack_rows)(scratch, b + n * job->b_stride + k0 * sizeof(ELEM), job->b_stride, width,
                        kc);
      else
        NAME(pack_columns)(scratch, b + k0 * job->b_stride + n * sizeof(ELEM), job->b_stride,
                           width, kc);
      for (size_t p = 0; p < panels; p++) {
        const float *a = (const float *)job->packed_a + (p * job->k + k0) * GEMM_MR;
        size_t tall = job->tokens - p * GEMM_MR;
        gemm_tile(job->c + p * GEMM_MR * job->c_stride + n, job->c_stride, a, scratch, kc,
                  tall < GEMM_MR ? tall : GEMM_MR, width, accumulates);
        if (k0 + kc == job->k) finish_tile(job, p * GEMM_MR, n, width);
      }
    }
  }
}
