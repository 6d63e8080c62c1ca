// Kernels that read no stored rows, and helpers of those that do; included once per isa_*.c.

enum { GEMM_NR = GEMM_NV * VW, GEMM_KC = 256 };
/// Elements that one turn of a streaming loop takes.
enum { TURN = 4 * VW };
/// First lines of the next row that are asked for while a row ends.
enum { KICK_LINES = 16 };

static inline void prefetch_span(const void *p, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)p + i, 0, 2);
}
static inline void prefetch_row(const void *p, size_t bytes) { prefetch_span(p, bytes); }

/// Whether vector and accumulator, in float32, crowd a 32 KiB L1 cache.
static inline int crowds_cache(size_t d) { return d >= 3072; }

/// The neuron of an entry of a job's list.
static inline size_t neuron_at(const dejavu_mlp_job *job, size_t entry) {
  return job->list ? (size_t)job->list[entry] : entry;
}

static inline float activate_one(float x, int32_t activation) {
  switch (activation) {
    case DEJAVU_RELU: return x < 0 ? 0 : x;  // NaN stays NaN
    case DEJAVU_GELU: return 0.5f * x * (1 + erff(x * 0.70710678f));
    case DEJAVU_GELU_TANH:
      return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    default: return x / (1 + expf(-x));
  }
}

/// eˣ to about one unit in the last place; exactly 0 below -104 and for -∞.
static inline vf vexp(vf x) {
  vf low = vset(-104.0f), high = vset(88.7f);
  x = vmin(vmax(x, low), high);
  vf n = vround(vmul(x, vset(1.44269504f)));
  vf r = vfma(n, vset(-0.693359375f), x);
  r = vfma(n, vset(2.12194440e-4f), r);
  vf p = vset(1.9875691500e-4f);
  p = vfma(p, r, vset(1.3981999507e-3f));
  p = vfma(p, r, vset(8.3334519073e-3f));
  p = vfma(p, r, vset(4.1665795894e-2f));
  p = vfma(p, r, vset(1.6666665459e-1f));
  p = vfma(p, r, vset(5.0000001201e-1f));
  p = vadd(vfma(vmul(r, r), p, r), vset(1));
  return vscale2(p, n);
}

static float kernel_exponentiate(float *scores, size_t count, float max) {
  vf shift = vset(max), total = vzero();
  size_t s = 0;
  for (; s + VW <= count; s += VW) {
    vf e = vexp(vsub(vload(scores + s), shift));
    vstore(scores + s, e);
    total = vadd(total, e);
  }
  float sum = vsum(total);
  for (; s < count; s++) {
    float lane[VW] = {0};
    lane[0] = scores[s] - max;
    vstore(lane, vexp(vload(lane)));
    scores[s] = lane[0];
    sum += lane[0];
  }
  return sum;
}

static void kernel_softmax(float *scores, size_t count, float scale, float slope,
                           size_t position) {
  vf factor = vset(scale), highest = vset(-INFINITY);
  size_t s = 0;
  for (; s + VW <= count; s += VW) {
    vf score = vmul(vload(scores + s), factor);
    vstore(scores + s, score);
    highest = vmax(highest, score);
  }
  for (; s < count; s++) scores[s] *= scale;
  float max = vmaxall(highest);
  if (slope != 0) {
    for (s = 0; s < count; s++) scores[s] += slope * (float)(position + s);
    max = -INFINITY;
  }
  for (s = slope != 0 ? 0 : count / VW * VW; s < count; s++) max = scores[s] > max ? scores[s] : max;
  vf share = vset(1 / kernel_exponentiate(scores, count, max));
  for (s = 0; s + VW <= count; s += VW) vstore(scores + s, vmul(vload(scores + s), share));
  for (; s < count; s++) {
    float lane[VW] = {scores[s]};
    vstore(lane, vmul(vload(lane), share));
    scores[s] = lane[0];
  }
}

static void kernel_layer_norm(float *out, const float *x, const float *weight, const float *bias,
                              float epsilon, size_t n, size_t padded) {
  vf total = vzero();
  float mean = 0, variance = 0;
  size_t i = 0;
  for (; i + VW <= n; i += VW) total = vadd(total, vload(x + i));
  mean = vsum(total);
  for (; i < n; i++) mean += x[i];
  mean /= (float)n;
  vf center = vset(mean);
  total = vzero();
  for (i = 0; i + VW <= n; i += VW) {
    vf c = vsub(vload(x + i), center);
    total = vfma(c, c, total);
  }
  variance = vsum(total);
  for (; i < n; i++) variance += (x[i] - mean) * (x[i] - mean);
  float scale = 1 / sqrtf(variance / (float)n + epsilon);
  for (i = 0; i < n; i++) {
    float y = (x[i] - mean) * scale;
    if (weight) y *= weight[i];
    out[i] = bias ? y + bias[i] : y;
  }
  for (; i < padded; i++) out[i] = 0;
}

static void kernel_rms_norm(float *out, const float *x, const float *weight, float epsilon,
                            size_t n, size_t padded) {
  vf total = vzero();
  size_t i = 0;
  for (; i + VW <= n; i += VW) total = vfma(vload(x + i), vload(x + i), total);
  float squares = vsum(total);
  for (; i < n; i++) squares += x[i] * x[i];
  float scale = 1 / sqrtf(squares / (float)n + epsilon);
  for (i = 0; i < n; i++) out[i] = x[i] * scale * (weight ? weight[i] : 1);
  for (; i < padded; i++) out[i] = 0;
}

static void kernel_activate(float *x, size_t count, int32_t activation) {
  size_t i = 0;
  if (activation == DEJAVU_RELU)
    for (; i + VW <= count; i += VW) vstore(x + i, vmax(vzero(), vload(x + i)));
  for (; i < count; i++) x[i] = activate_one(x[i], activation);
}

static void kernel_reduce(float *out, const float *parts, size_t stride, size_t count_parts,
                          size_t n) {
  for (size_t i = 0; i < n; i += VW) {
    vf sum = vload(parts + i);
    for (size_t p = 1; p < count_parts; p++) sum = vadd(sum, vload(parts + p * stride + i));
    vstore(out + i, sum);
  }
}

static void kernel_add(float *x, const float *y, const float *bias, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] += bias ? y[i] + bias[i] : y[i];
}

static uint64_t kernel_read_plain(const void *p, size_t bytes) {
  const float *x = (const float *)p;
  vf s[8];
  for (int j = 0; j < 8; j++) s[j] = vzero();
  for (size_t i = 0; i + 8 * VW <= bytes / 4; i += 8 * VW)
    for (size_t j = 0; j < 8; j++) s[j] = vmax(s[j], vload(x + i + j * VW));
  for (int j = 1; j < 8; j++) s[0] = vmax(s[0], s[j]);
  return (uint64_t)(vmaxall(s[0]) > 0);
}

static uint64_t kernel_read_prefetching(const void *p, size_t bytes) {
  const float *x = (const float *)p;
  vf s[8];
  for (int j = 0; j < 8; j++) s[j] = vzero();
  for (size_t i = 0; i + 8 * VW <= bytes / 4; i += 8 * VW) {
    for (size_t line = 0; line < 8 * VW * 4; line += 64)
      __builtin_prefetch((const char *)(x + i) + 4096 + line, 0, 3);
    for (size_t j = 0; j < 8; j++) s[j] = vmax(s[j], vload(x + i + j * VW));
  }
  for (int j = 1; j < 8; j++) s[0] = vmax(s[0], s[j]);
  return (uint64_t)(vmaxall(s[0]) > 0);
}

static void kernel_pack_a(void *out, const float *a, size_t a_stride, size_t tokens, size_t k) {
  float *to = (float *)out;
  for (size_t t0 = 0; t0 < tokens; t0 += GEMM_MR, to += GEMM_MR * k)
    for (size_t t = 0; t < GEMM_MR; t++) {
      const float *from = t0 + t < tokens ? a + (t0 + t) * a_stride : NULL;
      for (size_t i = 0; i < k; i++) to[i * GEMM_MR + t] = from ? from[i] : 0;
    }
}

/// Stores the first tall × width lanes of a tile.
static inline void store_tile(float *c, size_t c_stride, vf sums[GEMM_MR][GEMM_NV], size_t tall,
                              size_t width, int accumulates) {
  for (size_t t = 0; t < tall; t++) {
    float *row = c + t * c_stride, lanes[GEMM_NR];
    float *to = width == GEMM_NR ? row : lanes;
    for (size_t j = 0; j < GEMM_NV; j++) {
      vf sum = sums[t][j];
      if (accumulates && width == GEMM_NR) sum = vadd(sum, vload(row + j * VW));
      vstore(to + j * VW, sum);
    }
    for (size_t j = 0; width < GEMM_NR && j < width; j++)
      row[j] = accumulates ? row[j] + lanes[j] : lanes[j];
  }
}

/// Bias and activation of the tile that begins at row `first` and column n, once its sums are whole.
static inline void finish_tile(const dejavu_gemm_job *job, size_t first, size_t n, size_t width) {
  const dejavu_epilogue *epilogue = job->epilogue;
  if (!epilogue) return;
  size_t end = first + GEMM_MR < job->tokens ? first + GEMM_MR : job->tokens;
  for (size_t t = first; t < end; t++) {
    float *row = job->c + t * job->c_stride + n;
    if (epilogue->bias) kernel_add(row, epilogue->bias + n, NULL, width);
    if (epilogue->activation >= 0) kernel_activate(row, width, epilogue->activation);
  }
}

/// Asks for a tile of C while its sums are made: its rows lie so far apart, and so often a power of
/// two, that caches hold few of them.
static inline void prefetch_tile(const float *c, size_t c_stride, size_t tall) {
  for (size_t t = 0; t < tall; t++)
    for (size_t j = 0; j < GEMM_NR; j += 16) __builtin_prefetch(c + t * c_stride + j, 1, 3);
}

/// c[tall, width] (+)= a[kc][GEMM_MR]ᵀ · b[kc][GEMM_NR], sums in registers.
static inline void gemm_tile(float *c, size_t c_stride, const float *a, const float *b, size_t kc,
                             size_t tall, size_t width, int accumulates) {
  vf sums[GEMM_MR][GEMM_NV];
  prefetch_tile(c, c_stride, tall);
  for (size_t t = 0; t < GEMM_MR; t++)
    for (size_t j = 0; j < GEMM_NV; j++) sums[t][j] = vzero();
  for (size_t k = 0; k < kc; k++, a += GEMM_MR, b += GEMM_NR) {
    vf row[GEMM_NV];
    for (size_t j = 0; j < GEMM_NV; j++) row[j] = vload(b + j * VW);
#pragma clang loop unroll(full)
    for (size_t t = 0; t < GEMM_MR; t++) {
      vf x = vset(a[t]);
      for (size_t j = 0; j < GEMM_NV; j++) sums[t][j] = vfma(x, row[j], sums[t][j]);
    }
  }
  store_tile(c, c_stride, sums, tall, width, accumulates);
}
