// The next token: the likeliest, or a draw among the likeliest, from the logits of one position.
//
// Tokens are ordered by falling value, equal ones by their numbers, as the host's sampler sorts them; but
// nothing is sorted. Weights are whole numbers, whose sums are the same in any order: what stands at a place,
// or holds a share of the weight, is found by counting into bins, then among the tokens of one bin.

/// A token with its logit, so that a greater number stands before a lesser one.
DEVICE u64 keyed(float logit, int token) {
  // Minus zero is zero.
  return (u64)ordered(logit + 0.0f) << 32 | (0xffffffffu - (u32)token);
}
DEVICE int token_of(u64 key) { return (int)(0xffffffffu - (u32)key); }
DEVICE float value_of(u64 key) {
  u32 bits = (u32)(key >> 32);
  return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

DEVICE u64 other_lane(u64 value, int lane) {
  u32 high = __shfl_sync(all_lanes, (u32)(value >> 32), lane);
  return (u64)high << 32 | __shfl_sync(all_lanes, (u32)value, lane);
}

DEVICE u64 warp_first(u64 key) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) {
    u64 other = other_lane(key, (int)(threadIdx.x % 32) ^ step);
    key = other > key ? other : key;
  }
  return key;
}

/// The greatest of the block's keys, by every thread; `scratch` holds one for each warp.
DEVICE u64 block_first(u64 key, u64 *scratch) {
  int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  key = warp_first(key);
  if (lane == 0) scratch[threadIdx.x / 32] = key;
  __syncthreads();
  key = warp_first(lane < warps ? scratch[lane] : 0);
  __syncthreads();
  return key;
}

/// The likeliest token of every block's share. Grid: `blocks`.
KERNEL(256, 1) find_likeliest(dv_token_arguments a) {
  SHARED u64 scratch[8];
  await_inputs();
  u64 best = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < a.vocabulary; i += gridDim.x * blockDim.x) {
    u64 key = keyed(at<float>(a.logits)[i], i);
    best = key > best ? key : best;
  }
  best = block_first(best, scratch);
  if (threadIdx.x == 0) at<u64>(a.likeliest)[blockIdx.x] = best;
}

/// The likeliest token of all, by every thread.
DEVICE u64 first_of_all(const dv_token_arguments &a, u64 *scratch) {
  u64 best = 0;
  for (int i = threadIdx.x; i < a.blocks; i += blockDim.x) {
    u64 key = at<u64>(a.likeliest)[i];
    best = key > best ? key : best;
  }
  return block_first(best, scratch);
}

// Weights ------------------------------------------------------------------------------------------

enum { token_bins = 1024, no_bin = 0xffff };

/// How far a logit lies below the greatest, in units of the temperature, at most 0; and whether the token
/// may be drawn at all.
DEVICE bool takes_part(const dv_token_rule &rule, float logit, float greatest, float *value) {
  *value = (logit - greatest) / rule.temperature + 0.0f;
  // What is no number takes no part.
  return logit >= greatest - rule.span && *value <= 0;
}

/// e to the value in units of 2^-44: no value lies below -20, and 2^19 weights find room in a sum.
DEVICE u64 weight_of(float value) { return (u64)(exp((double)value) * 17592186044416.0 + 0.5); }

/// Bins of equal width, those of likelier tokens first.
DEVICE int bin_of(float value) { return least((int)(value * -51.2f), token_bins - 1); }

/// Tokens and their weights by bins, and every token's bin. Grid: `blocks`.
KERNEL(256, 1) weigh_tokens(dv_token_arguments a) {
  SHARED int counted[token_bins];
  SHARED u64 weights[token_bins], scratch[8];
  for (int i = threadIdx.x; i < token_bins; i += blockDim.x) {
    counted[i] = 0;
    weights[i] = 0;
  }
  await_inputs();
  dv_token_rule rule = *at<dv_token_rule>(a.rule);
  // Its barriers stand between the zeros and what is added to them.
  float greatest = value_of(first_of_all(a, scratch)), value;
  // Whole pieces of eight, so that whoever reads them finds no token behind the last.
  int end = (a.vocabulary + 7) / 8 * 8;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < end; i += gridDim.x * blockDim.x) {
    bool is_drawn = i < a.vocabulary && takes_part(rule, at<float>(a.logits)[i], greatest, &value);
    int bin = is_drawn ? bin_of(value) : no_bin;
    at<u16>(a.bins)[i] = (u16)bin;
    if (!is_drawn) continue;
    atomicAdd(&counted[bin], 1);
    atomicAdd(&weights[bin], weight_of(value));
  }
  __syncthreads();
  for (int i = threadIdx.x; i < token_bins; i += blockDim.x) {
    if (counted[i] == 0) continue;
    atomicAdd(at<int>(a.counts) + i, counted[i]);
    atomicAdd(at<u64>(a.weights) + i, weights[i]);
  }
}

// Places -------------------------------------------------------------------------------------------

/// A place in the order of tokens: how many stand before it, and what they weigh.
struct Place {
  int bin, counted;
  u64 weight;
};

/// Shared by a block that looks for places; every thread has a bin.
struct TokenBins {
  int counted[token_bins];
  u64 weights[token_bins];
};
struct TokenSearch {
  TokenBins all, own;
  Place warps[32], found;
  int listed;
  u64 key;
};

/// Sums over the lanes up to this one.
DEVICE Place warp_sums(Place own) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = 1; step < 32; step <<= 1) {
    int from = lane >= step ? lane - step : lane, more = __shfl_sync(all_lanes, own.counted, from);
    u64 heavier = other_lane(own.weight, from);
    if (lane >= step) {
      own.counted += more;
      own.weight += heavier;
    }
  }
  return own;
}

/// What stands before this thread's bin, and in all; a thread to every bin.
DEVICE Place before_bin(TokenSearch &s, const TokenBins &bins, Place *total) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Place own = {(int)threadIdx.x, bins.counted[threadIdx.x], bins.weights[threadIdx.x]};
  Place before = warp_sums(own);
  if (lane == 31) s.warps[warp] = before;
  __syncthreads();
  if (warp == 0) s.warps[lane] = warp_sums(s.warps[lane]);
  __syncthreads();
  *total = s.warps[31];
  before.counted += (warp > 0 ? s.warps[warp - 1].counted : 0) - own.counted;
  before.weight += (warp > 0 ? s.warps[warp - 1].weight : 0) - own.weight;
  __syncthreads();
  return before;
}

/// The bin that holds the token with `target` tokens, or as much weight, before it: behind what stands
/// before all of these bins.
DEVICE Place find_place(TokenSearch &s, const TokenBins &bins, const Place &base, bool by_weight,
                        u64 target) {
  Place total, before = before_bin(s, bins, &total);
  before.counted += base.counted;
  before.weight += base.weight;
  u64 begin = by_weight ? before.weight : (u64)before.counted;
  u64 size = by_weight ? bins.weights[threadIdx.x] : (u64)bins.counted[threadIdx.x];
  if (size > 0 && target >= begin && target - begin < size) s.found = before;
  __syncthreads();
  Place found = s.found;
  __syncthreads();
  return found;
}

/// Lists the tokens of a bin, in any order: eight bins to a piece, four pieces on their way.
DEVICE void list_bin(const dv_token_arguments &a, const dv_token_rule &rule, TokenSearch &s, float greatest,
                     int bin) {
  if (threadIdx.x == 0) s.listed = 0;
  __syncthreads();
  int pieces = (a.vocabulary + 7) / 8, step = blockDim.x;
  for (int first = threadIdx.x; first < pieces; first += 4 * step) {
    Quad quads[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      if (first + j * step < pieces) quads[j] = at<Quad>(a.bins)[first + j * step];
      else quads[j].w[0] = quads[j].w[1] = quads[j].w[2] = quads[j].w[3] = 0xffffffffu;
    }
#pragma unroll
    for (int j = 0; j < 32; j++) {
      if ((int)(quads[j / 8].w[j / 2 % 4] >> (16 * (j % 2)) & 0xffff) != bin) continue;
      float value;
      int token = 8 * (first + j / 8 * step) + j % 8;
      takes_part(rule, at<float>(a.logits)[token], greatest, &value);
      at<u64>(a.list)[atomicAdd(&s.listed, 1)] = keyed(value, token);
    }
  }
  __syncthreads();
}

/// Counts the listed tokens whose keys begin like `prefix` by their next eight bits, greatest first.
DEVICE void count_digits(const dv_token_arguments &a, TokenSearch &s, u64 prefix, int shift) {
  s.own.counted[threadIdx.x] = 0;
  s.own.weights[threadIdx.x] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < s.listed; i += blockDim.x) {
    u64 key = at<u64>(a.list)[i];
    if (shift < 56 && (key ^ prefix) >> (shift + 8)) continue;
    int digit = 255 - (int)(key >> shift & 255);
    atomicAdd(&s.own.counted[digit], 1);
    atomicAdd(&s.own.weights[digit], weight_of(value_of(key)));
  }
  __syncthreads();
}

/// The token with `target` tokens, or as much weight, before it; `place` says what stands before it.
DEVICE u64 find_token(const dv_token_arguments &a, const dv_token_rule &rule, TokenSearch &s, float greatest,
                      bool by_weight, u64 target, Place *place) {
  *place = find_place(s, s.all, {0, 0, 0}, by_weight, target);
  list_bin(a, rule, s, greatest, place->bin);
  u64 prefix = 0;
  // Keys are all different: at the last digit, if not before, one is left.
  for (int shift = 56; shift >= 0; shift -= 8) {
    count_digits(a, s, prefix, shift);
    *place = find_place(s, s.own, *place, by_weight, target);
    prefix |= (u64)(255 - place->bin) << shift;
    int left = s.own.counted[place->bin];
    __syncthreads();
    if (left > 1) continue;
    for (int i = threadIdx.x; i < s.listed; i += blockDim.x)
      if ((at<u64>(a.list)[i] ^ prefix) >> shift == 0) s.key = at<u64>(a.list)[i];
    break;
  }
  __syncthreads();
  u64 key = s.key;
  __syncthreads();
  return key;
}

// The choice ---------------------------------------------------------------------------------------

/// The number in [0, 1) that a seed gives for a position.
DEVICE double uniform(u64 seed, int position) {
  return (double)(mixed(seed, (u64)position + 1) >> 11) * (1.0 / 9007199254740992.0);
}

/// What stands before the last of the fewest tokens that hold a share of the weight.
DEVICE u64 share_of(double share, u64 weight) {
  u64 wanted = (u64)ceil(share * (double)weight);
  return wanted > 0 ? wanted - 1 : 0;
}

/// A draw among the `keep` likeliest tokens, of them among the fewest that hold `share` of the weight.
DEVICE u64 draw_token(const dv_token_arguments &a, TokenSearch &s, u64 best, int position) {
  float greatest = value_of(best);
  dv_token_rule rule = *at<dv_token_rule>(a.rule);
  s.all.counted[threadIdx.x] = at<int>(a.counts)[threadIdx.x];
  s.all.weights[threadIdx.x] = at<u64>(a.weights)[threadIdx.x];
  // The next step finds zeros.
  at<int>(a.counts)[threadIdx.x] = 0;
  at<u64>(a.weights)[threadIdx.x] = 0;
  Place total, place;
  before_bin(s, s.all, &total);
  u64 kept = total.weight, key = best;
  if (total.counted == 0) return best;
  // The last token that is kept by number, the last by weight, and the token.
  for (int stage = 0; stage < 3; stage++) {
    bool cuts = stage == 0 ? rule.keep > 0 && rule.keep < total.counted : stage == 2 || rule.share < 1;
    if (!cuts) continue;
    u64 target = (u64)rule.keep - 1;
    if (stage == 1) target = share_of(rule.share, kept);
    if (stage == 2) target = (u64)(uniform(rule.seed, position) * (double)kept);
    if (stage > 0 && target >= kept) target = kept - 1;
    key = find_token(a, rule, s, greatest, stage > 0, target, &place);
    kept = place.weight + weight_of(value_of(key));
  }
  return key;
}

/// Chooses the token, makes it and its position the next step's input, and reports it with the step's other
/// results where the host looks for them: steps of even and of odd positions have places of their own.
KERNEL(1024, 1) choose_token(dv_token_arguments a) {
  SHARED TokenSearch search;
  SHARED u64 scratch[32];
  await_inputs();
  int position = *at<int>(a.position) + 1;
  u64 best = first_of_all(a, scratch);
  if (a.draws) best = draw_token(a, search, best, position);
  // All threads have read the position.
  __syncthreads();
  int *report = at<int>(a.reports) + position % 2 * a.report_stride;
  for (int i = threadIdx.x; i < a.result_words; i += blockDim.x) report[i] = at<int>(a.results)[i];
  if (threadIdx.x != 0) return;
  // A logit that is no number chooses nothing, but the next step must find a row all the same.
  int token = least(most(token_of(best), 0), a.vocabulary - 1);
  report[a.result_words] = token;
  *at<int>(a.token) = token;
  *at<int>(a.position) = position;
}
