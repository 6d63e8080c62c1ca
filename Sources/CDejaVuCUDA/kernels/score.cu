// Scores of choosers in 8-bit integers, and lists of the rows above a threshold: by kernels of their
// own, or by blocks that ride with another kernel.
//
// Rows are those of a symmetric `GroupwiseFormat` in groups of 64: 16 bytes of codes are a unit as in
// groupwise.cuh, a block of 128 columns has as many of them as a code has bits, and two scales. A vector
// that meets them has 8 bits, with a step for every 64 columns: of each half of a block the bytes in the
// order of a unit's codes, and behind all blocks `[float steps]`.

/// Bytes of such a vector, whole pieces; `columns` is a multiple of 128.
DEVICE int eighths_bytes(int columns) { return columns + (columns / 16 + 15) / 16 * 16; }

/// Stores four neighbours of it from column i on; half a warp has the 64 columns that share a step.
DEVICE void store_eighths(signed char *rounded, int columns, const Quad &four, int i) {
  float greatest = 0;
  u32 bytes = 0;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    float size = fabsf(__uint_as_float(four.w[k]));
    // What is no number makes the step none, so that rounding hides neither.
    greatest = size <= 3.4e38f ? fmaxf(greatest, size) : INFINITY;
  }
#pragma unroll
  for (int step = 8; step > 0; step >>= 1)
    greatest = fmaxf(greatest, __shfl_xor_sync(all_lanes, greatest, step));
  bool vanishes = greatest <= 1e-33f;
  float inverse = vanishes ? 0.0f : 127.0f / greatest;
#pragma unroll
  for (int k = 0; k < 4; k++)
    bytes |= ((u32)(int)rintf(__uint_as_float(four.w[k]) * inverse) & 255) << (8 * k);
  int lane = i / 4 % 32;
  *(u32 *)(rounded + i / 128 * 128 + lane / 16 * 64 + lane % 4 * 16 + lane % 16 / 4 * 4) = bytes;
  if (lane % 16 == 0) ((float *)(rounded + columns))[i / 64] = vanishes ? 0.0f : greatest / 127.0f;
}

/// Codes that a lane has on their way, of `many` neighbouring rows: a round of 8 units, or of 4 in 2 bits, which
/// have more scales. Every half of a block has one; a round's are dealt out to the lanes of the warp, those of the
/// first row first.
template <int bits, int many> struct Codes {
  enum {
    units = bits == 2 ? 4 : 8,
    deep = units / many,
    halves = deep * 64 / bits,
    own = 2 * units / bits
  };
  Quad quads[many][deep];
  f16 scales[own];
};

/// Of the halves that a round of rows has, the row and the half of the round that lane l has as its k-th.
template <int bits, int many> struct OwnHalf {
  int row, half;
  DEVICE_MEMBER OwnHalf(int k, int lane) {
    row = (k * 32 + lane) / Codes<bits, many>::halves;
    half = (k * 32 + lane) % Codes<bits, many>::halves;
  }
};

/// Asks for a lane's next codes, and for its share of their scales.
template <int bits, int many>
DEVICE void ask_codes(Codes<bits, many> &codes, const dv_score_job &job, int first, int from, int lane) {
  int units = job.columns * bits / 128;
#pragma unroll
  for (int r = 0; r < many; r++) {
    i64 row = least(first + r, job.rows - 1);
    const unsigned char *own = at<unsigned char>(job.codes) + row * units * 16;
#pragma unroll
    for (int d = 0; d < Codes<bits, many>::deep; d++) {
      int unit = from + d * 32 + lane;
      Quad &quad = codes.quads[r][d];
      quad.w[0] = quad.w[1] = quad.w[2] = quad.w[3] = 0;
      if (unit < units) quad = stream(own + unit * 16);
    }
  }
#pragma unroll
  for (int k = 0; k < Codes<bits, many>::own; k++) {
    OwnHalf<bits, many> own(k, lane);
    int half = from * 2 / bits + own.half, all = job.columns / 64;
    i64 row = least(first + own.row, job.rows - 1);
    codes.scales[k].bits = 0;
    if (half < all) codes.scales[k] = stream_half(at<f16>(job.scales) + row * all + half);
  }
}

/// One lane's share of the products of neighbouring rows, twice. A row's sum has the same bits
/// whatever rows are read beside it.
template <int bits, int many>
DEVICE void add_codes(const Codes<bits, many> &codes, const signed char *q, const float *steps, int from,
                      int units, int lane, float (&sums)[many]) {
  // Halves of a block in a unit: codes of 8 bits have one.
  const int halves = bits == 8 ? 1 : 2;
  const u32 mask = bits == 8 ? 0xffffffffu : bits == 4 ? 0x0f0f0f0fu : 0x03030303u;
  const Quad *rounded = (const Quad *)q;
  float factors[Codes<bits, many>::own];
#pragma unroll
  for (int k = 0; k < Codes<bits, many>::own; k++) {
    int half = from * 2 / bits + OwnHalf<bits, many>(k, lane).half;
    factors[k] = half < units * 2 / bits ? widen(codes.scales[k]) * steps[half] : 0.0f;
  }
#pragma unroll
  for (int d = 0; d < Codes<bits, many>::deep; d++) {
    // Behind a row's end codes and factors are zeros.
    int unit = least(from + d * 32 + lane, units - 1), block = (u32)unit / bits;
#pragma unroll
    for (int h = 0; h < halves; h++) {
      int dots[many], all = 0;
#pragma unroll
      for (int r = 0; r < many; r++) dots[r] = 0;
#pragma unroll
      for (int part = h; part < 8 / bits; part += 2) {
        // Codes of 2 bits have two shifts for each half: the second one's places lie 32 further.
        Quad values = rounded[bits == 8 ? unit : 8 * block + 4 * h + part / 2 * 2 + (u32)unit % bits];
#pragma unroll
        for (int w = 0; w < 4; w++) {
          all = dot4(0x01010101u, values.w[w], all);
#pragma unroll
          for (int r = 0; r < many; r++)
            dots[r] = dot4((codes.quads[r][d].w[w] >> (part * bits)) & mask, values.w[w], dots[r]);
        }
      }
#pragma unroll
      for (int r = 0; r < many; r++) {
        int place = r * Codes<bits, many>::halves + d * 64 / bits;
        int half = bits == 8 ? lane / 4 : lane / bits * 2 + h;
        float factor = __shfl_sync(all_lanes, factors[place / 32], place % 32 + half);
        sums[r] = fmaf(factor, (float)(2 * dots[r] - ((1 << bits) - 1) * all), sums[r]);
      }
    }
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

/// Brings a job's vector in 8 bits to shared memory, from floats where nobody has rounded it yet; the block
/// comes together.
DEVICE void read_rounded(const dv_score_job &job, int token, signed char *rounded) {
  if (job.rounded) {
    dv_address from = job.rounded + (dv_address)(token * job.rounded_stride);
    copy_pieces(rounded, from, eighths_bytes(job.columns) / 16);
    await_copies();
  } else {
    const float *x = at<float>(job.x) + (i64)token * job.x_stride;
    for (int i = 4 * threadIdx.x; i < job.columns; i += 4 * blockDim.x)
      store_eighths(rounded, job.columns, read_piece(x, i, job.width), i);
  }
  __syncthreads();
}

/// Leaves scores of neighbouring rows, of which a lane has its share of the sums, and clears those; lane r
/// finishes row r. Returns which are above the threshold.
template <int many>
DEVICE u32 leave_scores(const dv_score_job &job, int token, int row, float (&sums)[many], int lane) {
  int own = row + lane;
  float y = 0;
#pragma unroll
  for (int r = 0; r < many; r++) {
    float sum = warp_sum(0.5f * sums[r]);
    if (lane == r) y = sum;
    sums[r] = 0;
  }
  bool owns = lane < many && own < job.rows;
  float bias = owns && job.bias ? at<float>(job.bias)[own] : 0.0f;
  float gain = owns && job.gain ? at<float>(job.gain)[own] : 1.0f;
  y = (y + bias) * gain;
  if (owns) at<float>(job.scores)[(i64)token * job.score_stride + own] = y;
  return __ballot_sync(all_lanes, owns && y > job.threshold);
}

/// Scores a block's rows, `many` at a time by a warp, and leaves a bit for each above the threshold.
template <int bits, int many>
DEVICE void score_rows_of(const dv_score_job &job, int block, int token, signed char *rounded, u32 *above) {
  int lane = threadIdx.x % 32, units = job.columns * bits / 128;
  ScoreShare share = score_share(job, many, block);
  int row = share.begin + many * (threadIdx.x / 32);
  Codes<bits, many> codes;
  if (row < share.end) ask_codes<bits, many>(codes, job, row, 0, lane);
  for (int i = threadIdx.x; i < share_rows / 32; i += blockDim.x) above[i] = 0;
  await_inputs(!job.early);
  read_rounded(job, token, rounded);
  const float *steps = (const float *)(rounded + job.columns);
  float sums[many];
#pragma unroll
  for (int r = 0; r < many; r++) sums[r] = 0;
  for (int from = 0; row < share.end;) {
    add_codes<bits, many>(codes, rounded, steps, from, units, lane, sums);
    // What comes next is on its way while a row ends.
    int own = row;
    from += 32 * Codes<bits, many>::deep;
    bool ends = from >= units;
    if (ends) {
      row += many * (blockDim.x / 32);
      from = 0;
    }
    if (row < share.end) ask_codes<bits, many>(codes, job, row, from, lane);
    if (!ends) continue;
    u32 chosen = leave_scores<many>(job, token, own, sums, lane);
    int place = own - share.begin;
    if (lane == 0 && chosen && job.bits_above) atomicOr(above + place / 32, chosen << place % 32);
  }
}

/// Shows rows whose bits are set to `taker`, which learns how many a thread has and the place of the first
/// one among all, and says whether it wants any; a thread has `many` words at a time. Returns how many there
/// are; the block comes together.
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
    bool takes = taker.start(all + sum_before(count, scratch, &total), count);
    all += total;
#pragma unroll
    for (int k = 0; k < many && takes; k++)
      for (u32 left = own[k]; left; left &= left - 1)
        taker.take(32 * (first + k) + __popc((left & (0u - left)) - 1));
    __syncthreads();
  }
  return all;
}

/// Writes rows behind each other.
struct ListTaker {
  int *list, next;
  DEVICE_MEMBER bool start(int place, int) {
    next = place;
    return true;
  }
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

/// The work of one of the blocks that score: of its job, whose rows it owns. `rounded`: shared memory for
/// the vector in 8 bits.
DEVICE void score_block(const dv_score_arguments &a, int block, int token, signed char *rounded) {
  SHARED u32 above[share_rows / 32];
  int j = 0;
  while (j + 1 < a.count && block >= a.jobs[j + 1].first_block) j++;
  const dv_score_job &job = a.jobs[j];
  if (block >= job.first_block + job.blocks) return;
  bool is_short = job.columns * job.bits / 128 <= 64;
  if (job.bits == 8 && is_short) score_rows_of<8, 4>(job, block, token, rounded, above);
  else if (job.bits == 8) score_rows_of<8, 1>(job, block, token, rounded, above);
  else if (job.bits == 4 && is_short) score_rows_of<4, 4>(job, block, token, rounded, above);
  else if (job.bits == 4) score_rows_of<4, 1>(job, block, token, rounded, above);
  else if (is_short) score_rows_of<2, 4>(job, block, token, rounded, above);
  else score_rows_of<2, 1>(job, block, token, rounded, above);
  if (job.bits_above) leave_bits(job, block, above);
  if (job.list) list_above(job);
}
