// Scores of choosers in 8-bit integers, and lists of the rows above a threshold: by kernels of their
// own, or by blocks that ride with another kernel.

/// What a vector is multiplied with before it is rounded to 8 bits, and what one unit of it stands for then;
/// 0 where the vector vanishes.
struct Eighths { float scale, unit; };

DEVICE Eighths eighths_of(float greatest) {
  if (!(greatest > 1e-36f)) return {0, 0};
  return {127.0f / greatest, greatest / 127.0f};
}

/// Four neighbours from column i on, zeros behind the width.
DEVICE u32 round_four(const Quad &four, int i, int width, float scale) {
  u32 bytes = 0;
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (i + k < width) bytes |= ((u32)(int)rintf(__uint_as_float(four.w[k]) * scale) & 255) << (8 * k);
  return bytes;
}

/// Rounds columns of a vector to 8 bits by the block; returns what one unit of it stands for. `values` is in
/// shared memory, and every thread reads what it wrote itself.
DEVICE float round_vector(const float *values, int width, int begin, int end, float greatest,
                          signed char *rounded) {
  Eighths eighths = eighths_of(greatest);
  for (int i = begin + 4 * threadIdx.x; i < end; i += 4 * blockDim.x)
    *(u32 *)(rounded + i) = round_four(*(const Quad *)(values + i), i, width, eighths.scale);
  return eighths.unit;
}

/// Codes that a lane has on their way, of `many` neighbouring rows, with their scales.
template <int many> struct Codes {
  enum { deep = 8 / many };
  Quad quads[many][deep];
  f16 scales[many][deep];
};

/// Asks for a lane's next codes; a group of 64 lanes has bits · 8 bytes of them.
template <int bits, int many>
DEVICE void ask_codes(Codes<many> &codes, const dv_score_job &job, int first, int from, int lane) {
  int units = job.columns * bits / 128;
#pragma unroll
  for (int r = 0; r < many; r++) {
    i64 row = least(first + r, job.rows - 1);
    const unsigned char *own = at<unsigned char>(job.codes) + row * units * 16;
    const f16 *scales = at<f16>(job.scales) + row * (job.columns / 64);
#pragma unroll
    for (int d = 0; d < Codes<many>::deep; d++) {
      int unit = from + d * 32 + lane;
      Quad &quad = codes.quads[r][d];
      codes.scales[r][d].bits = 0;
      quad.w[0] = quad.w[1] = quad.w[2] = quad.w[3] = 0;
      if (unit >= units) continue;
      quad = stream(own + unit * 16);
      codes.scales[r][d] = stream_half(scales + unit * 2 / bits);
    }
  }
}

/// One lane's share of the products of neighbouring rows, twice. A row's sum has the same bits
/// whatever rows are read beside it.
template <int bits, int many>
DEVICE void add_codes(const Codes<many> &codes, const signed char *q, int from, int units, int lane,
                      float (&sums)[many]) {
  const int bytes = 64 * bits / 8;
  const u32 mask = bits == 8 ? 0xffffffffu : bits == 4 ? 0x0f0f0f0fu : 0x03030303u;
  const Quad *rounded = (const Quad *)q;
#pragma unroll
  for (int d = 0; d < Codes<many>::deep; d++) {
    if (from + d * 32 >= units) break;
    int unit = least(from + d * 32 + lane, units - 1);
    int group = unit * 16 / bytes, offset = unit * 16 % bytes, dots[many], all = 0;
#pragma unroll
    for (int r = 0; r < many; r++) dots[r] = 0;
#pragma unroll
    for (int part = 0; part < 8 / bits; part++) {
      Quad values = rounded[(group * 64 + part * bytes + offset) / 16];
#pragma unroll
      for (int w = 0; w < 4; w++) {
        all = dot4(0x01010101u, values.w[w], all);
#pragma unroll
        for (int r = 0; r < many; r++)
          dots[r] = dot4((codes.quads[r][d].w[w] >> (part * bits)) & mask, values.w[w], dots[r]);
      }
    }
#pragma unroll
    for (int r = 0; r < many; r++)
      sums[r] = fmaf(widen(codes.scales[r][d]), (float)(2 * dots[r] - ((1 << bits) - 1) * all), sums[r]);
  }
}

enum { share_rows = 4096 };

/// Rows of a job that this block scores, from `begin`; whole words of bits where it lists them.
struct ScoreShare { int begin, end; };

DEVICE ScoreShare score_share(const dv_score_job &job, int many, int block) {
  int unit = job.bits_above ? 32 : many, share = (job.rows + job.blocks - 1) / job.blocks;
  share = (share + unit - 1) / unit * unit;
  int begin = least((block - job.first_block) * share, job.rows);
  return {begin, least(begin + share, job.rows)};
}

/// Brings a job's vector in 8 bits to shared memory, from floats where nobody has rounded it yet;
/// returns what one unit stands for.
DEVICE float read_rounded(const dv_score_job &job, int token, float *values, signed char *rounded) {
  SHARED float scratch[32], known;
  float unit, greatest = 0;
  if (job.rounded) {
    copy_pieces(rounded, job.rounded + (dv_address)(token * job.rounded_stride), job.columns / 16);
    if (threadIdx.x == 0) known = at<float>(job.units)[token];
    await_copies();
    __syncthreads();
    return known;
  }
  const float *x = at<float>(job.x) + (i64)token * job.x_stride;
  for (int i = 4 * threadIdx.x; i < arranged_width(job.width); i += 4 * blockDim.x) {
    Quad quad = read_piece(x, i, job.width);
    *(Quad *)(values + i) = quad;
#pragma unroll
    for (int k = 0; k < 4; k++) greatest = fmaxf(greatest, fabsf(__uint_as_float(quad.w[k])));
  }
  greatest = block_greatest(greatest, scratch);
  unit = round_vector(values, job.width, 0, job.columns, greatest, rounded);
  __syncthreads();
  return unit;
}

/// Scores a block's rows, `many` at a time by a warp, and leaves a bit for each above the threshold.
template <int bits, int many>
DEVICE void score_rows_of(const dv_score_job &job, int block, int token, float *values, u32 *above) {
  int lane = threadIdx.x % 32, warps = blockDim.x / 32, units = job.columns * bits / 128;
  ScoreShare share = score_share(job, many, block);
  int row = share.begin + many * (threadIdx.x / 32);
  signed char *rounded = (signed char *)(values + (job.rounded ? 0 : arranged_width(job.width)));
  float *scores = at<float>(job.scores) + (i64)token * job.score_stride;
  Codes<many> codes;
  if (row < share.end) ask_codes<bits, many>(codes, job, row, 0, lane);
  for (int i = threadIdx.x; i < share_rows / 32; i += blockDim.x) above[i] = 0;
  await_inputs();
  float unit = read_rounded(job, token, values, rounded);
  for (; row < share.end; row += many * warps) {
    // Lane r finishes row r.
    int own = row + lane;
    bool owns = lane < many && own < job.rows;
    float bias = owns && job.bias ? at<float>(job.bias)[own] : 0.0f;
    float gain = owns && job.gain ? at<float>(job.gain)[own] : 1.0f;
    float sums[many], y = 0;
#pragma unroll
    for (int r = 0; r < many; r++) sums[r] = 0;
    for (int from = 0;;) {
      add_codes<bits, many>(codes, rounded, from, units, lane, sums);
      from += 32 * Codes<many>::deep;
      if (from >= units) break;
      ask_codes<bits, many>(codes, job, row, from, lane);
    }
    if (row + many * warps < share.end)
      ask_codes<bits, many>(codes, job, row + many * warps, 0, lane);
#pragma unroll
    for (int r = 0; r < many; r++) {
      float sum = warp_sum(0.5f * sums[r]);
      if (lane == r) y = sum;
    }
    y = (y * unit + bias) * gain;
    if (owns) scores[own] = y;
    u32 chosen = __ballot_sync(all_lanes, owns && y > job.threshold);
    int place = row - share.begin;
    if (lane == 0 && chosen && job.bits_above) atomicOr(above + place / 32, chosen << place % 32);
  }
}

/// Shows rows whose bits are set to `taker`, which learns the place of a thread's first one among all; a thread
/// has `many` words at a time. Returns how many there are; the block comes together.
template <int many, class Taker> DEVICE int walk_bits(const int *bits, int rows, Taker taker) {
  SHARED int scratch[32];
  int words = (rows + 31) / 32, all = 0;
  for (int from = 0; from < words; from += many * blockDim.x) {
    u32 own[many];
    int count = 0, total, first = from + many * threadIdx.x;
#pragma unroll
    for (int k = 0; k < many; k++) {
      own[k] = first + k < words ? (u32)fresh(bits + first + k) : 0;
      count += __popc(own[k]);
    }
    taker.start(all + sum_before(count, scratch, &total));
    all += total;
#pragma unroll
    for (int k = 0; k < many; k++)
      for (u32 left = own[k]; left; left &= left - 1)
        taker.take(32 * (first + k) + __popc((left & (0u - left)) - 1));
    __syncthreads();
  }
  return all;
}

/// Writes rows behind each other.
struct ListTaker {
  int *list, next;
  DEVICE_MEMBER void start(int place) { next = place; }
  DEVICE_MEMBER void take(int row) { list[next++] = row; }
};

/// Writes the numbers of the rows whose bits are set, by one block.
DEVICE void list_bits(const int *bits, int rows, dv_address count_to, dv_address list_to) {
  int all = walk_bits<4>(bits, rows, ListTaker{at<int>(list_to), 0});
  if (threadIdx.x == 0) *at<int>(count_to) = all;
}

/// Leaves a block's bits for whoever lists them.
DEVICE void leave_bits(const dv_score_job &job, int block, const u32 *above) {
  ScoreShare share = score_share(job, 32, block);
  __syncthreads();
  for (int i = threadIdx.x; i < (share.end - share.begin + 31) / 32; i += blockDim.x)
    at<int>(job.bits_above)[share.begin / 32 + i] = (int)above[i];
}

/// Lists the rows whose bits are set, by the last of the job's blocks to come.
DEVICE void list_above(const dv_score_job &job) {
  SHARED int before;
  __syncthreads();
  if (threadIdx.x == 0) {
    publish();
    before = atomicAdd(at<int>(job.ticket), 1);
    publish();
  }
  __syncthreads();
  if (before != job.blocks - 1) return;
  list_bits(at<int>(job.bits_above), job.rows, job.count, job.list);
  if (threadIdx.x == 0) *at<int>(job.ticket) = 0;
}

/// The work of one of the blocks that score: of its job, whose rows it owns. `values`: shared memory for
/// the vector where it is not rounded yet, then its bytes.
DEVICE void score_block(const dv_score_arguments &a, int block, int token, float *values) {
  SHARED u32 above[share_rows / 32];
  int j = 0;
  while (j + 1 < a.count && block >= a.jobs[j + 1].first_block) j++;
  const dv_score_job &job = a.jobs[j];
  if (block >= job.first_block + job.blocks) return;
  bool is_short = job.columns * job.bits / 128 <= 64;
  if (job.bits == 8 && is_short) score_rows_of<8, 4>(job, block, token, values, above);
  else if (job.bits == 8) score_rows_of<8, 1>(job, block, token, values, above);
  else if (job.bits == 4 && is_short) score_rows_of<4, 4>(job, block, token, values, above);
  else if (job.bits == 4) score_rows_of<4, 1>(job, block, token, values, above);
  else if (is_short) score_rows_of<2, 4>(job, block, token, values, above);
  else score_rows_of<2, 1>(job, block, token, values, above);
  if (job.bits_above) leave_bits(job, block, above);
  if (job.list) list_above(job);
}
