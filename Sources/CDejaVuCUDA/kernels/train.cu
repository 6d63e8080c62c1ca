// Training of predictors: how the loss bends logits, the sums behind it, AdamW. The products are
// cuBLASLt's in TF32, or without it the kernels of prompts (prompt.cu) in float32, which alone need
// transpose_rows.

/// How often each contribution's code stands among a minibatch's. Whole numbers: any order adds up to
/// the same.
KERNEL(256, 1) count_codes(dv_count_arguments a) {
  SHARED int counts[256];
  counts[threadIdx.x] = 0;
  __syncthreads();
  for (int i = blockIdx.x * 256 + threadIdx.x; i < a.count; i += gridDim.x * 256)
    atomicAdd(&counts[at<u8>(a.codes)[i]], 1);
  __syncthreads();
  if (counts[threadIdx.x] > 0) atomicAdd(at<int>(a.counts) + threadIdx.x, counts[threadIdx.x]);
}

/// w · (softplus(z) − y · z).
DEVICE float weighted_loss(float z, float weight, bool positive) {
  return weight * (fmaxf(z, 0.0f) + log1pf(expf(-fabsf(z))) - (positive ? z : 0.0f));
}

/// A block to a token: logits become the loss' gradient w · (σ(z) − y). The first tokens' loss and
/// weights are summed before that.
KERNEL(256, 1) differentiate_logits(dv_loss_arguments a) {
  SHARED float scratch[32];
  int t = blockIdx.x;
  float *row = at<float>(a.logits) + (i64)t * a.stride;
  const u8 *codes = at<u8>(a.codes) + (i64)t * a.rows;
  const float *weights = at<float>(a.weights);
  float loss = 0, total = 0;
  for (int i = threadIdx.x; i < a.stride; i += blockDim.x) {
    if (i >= a.rows) {
      row[i] = 0;
      continue;
    }
    bool positive = codes[i] >= a.positive;
    float z = row[i], weight = weights[codes[i]];
    loss += weighted_loss(z, weight, positive);
    total += weight;
    row[i] = (1.0f / (1.0f + expf(-z)) - (positive ? 1.0f : 0.0f)) * weight;
  }
  if (t >= a.shown) return;
  loss = block_sum(loss, scratch);
  total = block_sum(total, scratch);
  if (threadIdx.x > 0) return;
  at<float>(a.losses)[2 * t] = loss;
  at<float>(a.losses)[2 * t + 1] = total;
}

/// out[i] = Σ_t values[t, i], tokens in their order.
KERNEL(256, 1) sum_tokens(dv_sum_arguments a) {
  int i = blockIdx.x * 256 + threadIdx.x;
  if (i >= a.width) return;
  float sum = 0;
  for (int t = 0; t < a.tokens; t++) sum += at<float>(a.values)[(i64)t * a.stride + i];
  at<float>(a.out)[i] = sum;
}

/// out[i, t] = values[t, i], in tiles of 32 by 32.
KERNEL(256, 1) transpose_rows(dv_transpose_arguments a) {
  SHARED float tile[32][33];
  int i0 = blockIdx.x * 32, t0 = blockIdx.y * 32, lane = threadIdx.x % 32;
  for (int j = threadIdx.x / 32; j < 32; j += 8)
    if (t0 + j < a.tokens && i0 + lane < a.width)
      tile[j][lane] = at<float>(a.values)[(i64)(t0 + j) * a.stride + i0 + lane];
  __syncthreads();
  for (int j = threadIdx.x / 32; j < 32; j += 8)
    if (i0 + j < a.width && t0 + lane < a.tokens)
      at<float>(a.out)[(i64)(i0 + j) * a.out_stride + t0 + lane] = tile[lane][j];
}

/// One step of AdamW; what comes behind `decaying` does not decay.
KERNEL(256, 1) step_weights(dv_adam_arguments a) {
  float *values = at<float>(a.values), *first = at<float>(a.first), *second = at<float>(a.second);
  for (int i = blockIdx.x * 256 + threadIdx.x; i < a.count; i += gridDim.x * 256) {
    float g = at<float>(a.gradient)[i];
    float m = a.beta1 * first[i] + (1.0f - a.beta1) * g;
    float v = a.beta2 * second[i] + (1.0f - a.beta2) * g * g;
    float decay = i < a.decaying ? a.decay * values[i] : 0.0f;
    first[i] = m;
    second[i] = v;
    values[i] -= decay + a.rate * m / (sqrtf(v / a.correction) + 1e-12f);
  }
}
