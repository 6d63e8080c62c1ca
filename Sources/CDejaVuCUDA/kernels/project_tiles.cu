// Queries, keys and values of chosen heads by tensor cores, and what the heads owe.
//
// A tile is a few pairs of rows, and up to eight positions that its group owes are the columns of one
// product: what is owed costs its inputs' reading and no more. A column knows nothing of its
// neighbours, so that a deferred key equals an eager one bit for bit. The warps of a block share every
// tile: they take its steps in turn, through all of the block's tiles, and each asks for the next few
// steps beside what it does. Sums are kept by what a step leaves when it is divided by the number of
// warps, so that no bit depends on who did it.

enum { tile_positions = 8, tile_warps = dv_tile_warps, tile_stages = dv_tile_stages };

/// Weights that meet inputs of their own type in tensor cores.
template <class T, class C> struct Tensor { enum { cores = 0 }; };
template <> struct Tensor<f16, f16> { enum { cores = 1 }; };
template <> struct Tensor<bf16, bf16> { enum { cores = 1 }; };

/// Pairs of a tile, its rows, and the columns of a step: two pieces of 16 bytes a lane. Halves take
/// eight rows, so that few tiles still reach every multiprocessor.
template <class T> struct TileShape {
  enum { pairs = 4, rows = 8, columns = 64 };
  DEVICE_MEMBER static int vector_bytes(int width) { return arranged_width(width) * 2; }
};

/// What a warp has on its way of one step: a lane reads back what it asked for itself.
template <class T> struct Stage { Quad quads[2][32]; };

/// A lane's rows in the tile whose steps it asks for.
template <class T> struct TileRows { const T *rows[2]; };

template <class T>
DEVICE void place_rows(const dv_project_arguments &a, TileRows<T> &own, int group, int kind, int first,
                       int last, int lane) {
  int row = lane / 4;
  RowPair pair = pair_rows(a, group, kind, least(first + row % 4, last));
  own.rows[0] = row_of<T>(a, pair) + (row < 4 ? 0 : pair.apart * a.row_stride);
}

template <class T>
DEVICE void ask_stage(Stage<T> &stage, const TileRows<T> &own, int step, int padded, int lane) {
#pragma unroll
  for (int j = 0; j < 2; j++) {
    int column = 64 * step + 32 * j + lane % 4 * 8;
    Quad &to = stage.quads[j][lane];
    if (column < padded) copy_quad(&to, own.rows[0] + column);
    else to.w[0] = to.w[1] = to.w[2] = to.w[3] = 0;
  }
}

/// Adds a step's products: rows of a warp's lanes are the matrix, its vectors the columns. Columns are
/// taken in the order in which lanes hold them, the same on both sides.
template <class T>
DEVICE void meet_stage(const Stage<T> &stage, const char *vector, int, int step, int lane,
                       float (&sums)[4]) {
#pragma unroll
  for (int j = 0; j < 2; j++) {
    Quad w = stage.quads[j][lane];
    Quad x = *(const Quad *)(vector + 2 * (64 * step + 32 * j + lane % 4 * 8));
    const u32 first[4] = {w.w[0], 0, w.w[1], 0}, second[4] = {w.w[2], 0, w.w[3], 0};
    multiply_tile(sums, first, x.w[0], x.w[1], T());
    multiply_tile(sums, second, x.w[2], x.w[3], T());
  }
}

#ifdef CODE_GROUP
/// Words of a step's scales, and of its zeros, which a lane has of each of its two rows.
template <class T> struct CodeShape {
  enum {
    pairs = 8, rows = 16, columns = 512 / Coding<T>::bits,
    scale_words = (Coding<T>::groups + 1) / 2,
    words = scale_words + CODE_ZEROS
  };
  DEVICE_MEMBER static int vector_bytes(int width) { return Vector<T>::pieces(width) * 16; }
};
template <> struct TileShape<i4> : CodeShape<i4> {};
template <> struct TileShape<i8> : CodeShape<i8> {};
template <class T> struct CodeStage {
  Quad quads[2][32];
  u32 words[2][CodeShape<T>::words][32];
};
template <> struct Stage<i4> : CodeStage<i4> {};
template <> struct Stage<i8> : CodeStage<i8> {};

template <class T>
DEVICE void place_coded_rows(const dv_project_arguments &a, TileRows<T> &own, int group, int kind,
                             int first, int last, int lane) {
  RowPair pair = pair_rows(a, group, kind, least(first + lane / 4, last));
  own.rows[0] = row_of<T>(a, pair);
  own.rows[1] = own.rows[0] + pair.apart * a.row_stride;
}
DEVICE void place_rows(const dv_project_arguments &a, TileRows<i4> &own, int group, int kind, int first,
                       int last, int lane) {
  place_coded_rows(a, own, group, kind, first, last, lane);
}
DEVICE void place_rows(const dv_project_arguments &a, TileRows<i8> &own, int group, int kind, int first,
                       int last, int lane) {
  place_coded_rows(a, own, group, kind, first, last, lane);
}

/// Where a step's scales and zeros begin in a row, in bytes.
template <class T> DEVICE int scales_at(int step, int padded) {
  return code_bytes(padded, Coding<T>::bits) + 2 * (step * TileShape<T>::columns / CODE_GROUP);
}
template <class T> DEVICE int zeros_at(int step, int padded) {
  return code_bytes(padded, Coding<T>::bits) + 2 * row_groups(padded) +
         Coding<T>::bits / 4 * (step * TileShape<T>::columns / CODE_GROUP);
}

template <class T>
DEVICE void ask_code_stage(CodeStage<T> &stage, const TileRows<T> &own, int step, int padded, int lane) {
  const int scales = CodeShape<T>::scale_words;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const T *row = own.rows[r];
    copy_quad(&stage.quads[r][lane], row + 64 * step + lane % 4 * 16);
#pragma unroll
    for (int k = 0; k < scales; k++)
      copy_word(&stage.words[r][k][lane], row + (scales_at<T>(step, padded) & ~3) + 4 * k);
    if (CODE_ZEROS)
      copy_word(&stage.words[r][scales][lane], row + (zeros_at<T>(step, padded) & ~3));
  }
}
DEVICE void ask_stage(Stage<i4> &stage, const TileRows<i4> &own, int step, int padded, int lane) {
  ask_code_stage(stage, own, step, padded, lane);
}
DEVICE void ask_stage(Stage<i8> &stage, const TileRows<i8> &own, int step, int padded, int lane) {
  ask_code_stage(stage, own, step, padded, lane);
}

/// A group's scale, or twice what its zero lies below the middle, of the step's words.
template <class T>
DEVICE float stage_scale(const CodeStage<T> &stage, int r, int group, int step, int padded, int lane) {
  int half = (scales_at<T>(step, padded) & 2) / 2 + group;
  return widen_f16((u16)(stage.words[r][half / 2][lane] >> (half % 2 * 16)));
}
template <class T>
DEVICE float stage_offset(const CodeStage<T> &stage, int r, int group, int step, int padded, int lane) {
  const int bits = Coding<T>::bits;
  if (!CODE_ZEROS) return zero_offset((const T *)0, 0, 0);
  int from = (zeros_at<T>(step, padded) & 3) + bits / 4 * group;
  u32 word = stage.words[r][CodeShape<T>::scale_words][lane] >> (8 * from);
  return bits == 4 ? 15.0f - (int)(word & 255) : 256.0f - (int)(word & 0xffff);
}

/// Integer products of the rows' codes with a group's columns: 256 times the high bytes' and the low
/// ones'; `ones` takes the sums of the vectors alone.
template <class T, bool ones>
DEVICE void multiply_group(const CodeStage<T> &stage, const UnitVector<T> &x, int group, int lane,
                           int (&total)[4]) {
  const int each = 2 * Coding<T>::halves / Coding<T>::groups;
  int low[4] = {0, 0, 0, 0};
#pragma unroll
  for (int k = 0; k < 4; k++) total[k] = 0;
#pragma unroll
  for (int m = group * each; m < (group + 1) * each; m++) {
    int h = m / 2, b = m % 2 * 2;
    u32 codes[4];
#pragma unroll
    for (int r = 0; r < 4; r++)
      codes[r] = ones ? 0x01010101u : centred<T>(stage.quads[r % 2][lane].w[b + r / 2], h);
    multiply_codes(total, codes, x.high[h].w[b], x.high[h].w[b + 1]);
    multiply_codes(low, codes, x.low[h].w[b], x.low[h].w[b + 1]);
  }
#pragma unroll
  for (int k = 0; k < 4; k++) total[k] = 256 * total[k] + low[k];
}

template <class T>
DEVICE void meet_codes(const CodeStage<T> &stage, const char *vector, int padded, int step, int lane,
                       float (&sums)[4]) {
  UnitVector<T> x;
  read_unit(x, vector, arranged_width(padded), 4 * step + lane % 4);
  // A lane's sums are two rows' with two vectors.
  float steps[2] = {__shfl_sync(all_lanes, x.step, lane % 4 * 8),
                    __shfl_sync(all_lanes, x.step, lane % 4 * 8 + 4)};
#pragma unroll
  for (int g = 0; g < Coding<T>::groups; g++) {
    int total[4], all[4];
    multiply_group<T, false>(stage, x, g, lane, total);
    if (Offset<T>::wanted) multiply_group<T, true>(stage, x, g, lane, all);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float scale = stage_scale(stage, r, g, step, padded, lane), offset = 0;
      if (Offset<T>::wanted)
        offset = 0.5f / code_unit<T>() * stage_offset(stage, r, g, step, padded, lane);
#pragma unroll
      for (int v = 0; v < 2; v++) {
        float product = (float)total[2 * r + v];
        if (Offset<T>::wanted) product = fmaf(offset, (float)all[2 * r + v], product);
        sums[2 * r + v] = fmaf(scale * steps[v], product, sums[2 * r + v]);
      }
    }
  }
}
DEVICE void meet_stage(const Stage<i4> &stage, const char *vector, int padded, int step, int lane,
                       float (&sums)[4]) {
  meet_codes(stage, vector, padded, step, lane, sums);
}
DEVICE void meet_stage(const Stage<i8> &stage, const char *vector, int padded, int step, int lane,
                       float (&sums)[4]) {
  meet_codes(stage, vector, padded, step, lane, sums);
}
template <class T> DEVICE float tile_unit(const T *) { return 1.0f; }
DEVICE float tile_unit(const i4 *) { return code_unit<i4>(); }
DEVICE float tile_unit(const i8 *) { return code_unit<i8>(); }
#else
template <class T> DEVICE float tile_unit(const T *) { return 1.0f; }
#endif

// A block's tiles ----------------------------------------------------------------------------------

/// What every warp knows of its block's tiles.
struct TileWork {
  KindCounts pairs, tiles;
  /// Tiles of the block, and steps of each.
  int own, steps;
};

template <class T>
DEVICE TileWork count_tiles(const dv_project_arguments &a, const Debts<tile_positions> &debts) {
  const int pairs = TileShape<T>::pairs, columns = TileShape<T>::columns;
  TileWork work = {count_pairs(a), {0, 0, 0}, 0, (a.padded_width + columns - 1) / columns};
  work.tiles = {(work.pairs.queries + pairs - 1) / pairs, (work.pairs.keys + pairs - 1) / pairs,
                (work.pairs.values + pairs - 1) / pairs};
  int items = count_items(a, work.tiles, debts);
  // Neighbours go to different blocks, so that few tiles still use the whole card.
  work.own = (items - (int)blockIdx.x + (int)gridDim.x - 1) / (int)gridDim.x;
  return work;
}

DEVICE Item find_tile(const dv_project_arguments &a, const TileWork &work,
                      const Debts<tile_positions> &debts, int tile) {
  return find_item(a, work.tiles, debts, tile * (int)gridDim.x + (int)blockIdx.x);
}

DEVICE int last_pair(const TileWork &work, int kind) {
  KindCounts pairs = work.pairs;
  return (kind == pair_query ? pairs.queries : kind == pair_key ? pairs.keys : pairs.values) - 1;
}

/// Where a warp is in the block's steps: it takes one, the others take theirs, and so on.
struct Walk {
  int tile, step;
  /// Whether the next step is another tile's.
  DEVICE_MEMBER bool move(int by, int steps) {
    int before = tile;
    step += by;
    while (step >= steps) {
      step -= steps;
      tile++;
    }
    return tile != before;
  }
};

template <class T> struct Asking {
  Walk walk;
  TileRows<T> own;
  int stage;
};

template <class T>
DEVICE void find_rows(const dv_project_arguments &a, const TileWork &work,
                      const Debts<tile_positions> &debts, Asking<T> &asking, int lane) {
  if (asking.walk.tile >= work.own) return;
  Item item = find_tile(a, work, debts, asking.walk.tile);
  place_rows(a, asking.own, item.group, item.kind, item.place * TileShape<T>::pairs,
             last_pair(work, item.kind), lane);
}

/// Asks for a warp's next step and goes on to the one behind it.
template <class T>
DEVICE void ask_next(const dv_project_arguments &a, const TileWork &work,
                     const Debts<tile_positions> &debts, Asking<T> &asking, Stage<T> *ring, int lane) {
  if (asking.walk.tile < work.own)
    ask_stage(ring[asking.stage], asking.own, asking.walk.step, a.padded_width, lane);
  commit_copies();
  asking.stage = asking.stage + 1 == tile_stages ? 0 : asking.stage + 1;
  if (asking.walk.move(tile_warps, work.steps)) find_rows(a, work, debts, asking, lane);
}

/// Sums of a tile by what its steps leave, `[row, position]`.
template <class T> struct TileSums { float sums[tile_warps][TileShape<T>::rows * tile_positions]; };

template <class T>
DEVICE void leave_products(TileSums<T> &to, const float (&sums)[4], int rest, int lane) {
  float *own = to.sums[rest] + lane / 4 * tile_positions + lane % 4 * 2;
  own[0] = sums[0];
  own[1] = sums[1];
  if (TileShape<T>::rows == 8) return;
  own[8 * tile_positions] = sums[2];
  own[8 * tile_positions + 1] = sums[3];
}

/// Adds what the warps have left, and stores it; a thread to a pair at a position.
template <class T>
DEVICE void finish_tile(const dv_project_arguments &a, const TileWork &work,
                        const Debts<tile_positions> &debts, const TileSums<T> &from, int tile) {
  const int pairs = TileShape<T>::pairs, positions = tile_positions, warps = pairs * positions / 32;
  int turn = ((int)threadIdx.x / 32 + tile_warps - tile * warps % tile_warps) % tile_warps;
  if (turn >= warps) return;
  int place = 32 * turn + threadIdx.x % 32, position = place % positions;
  Item item = find_tile(a, work, debts, tile);
  int pair = item.place * pairs + place / positions, last = last_pair(work, item.kind);
  if (pair > last || item.from + position >= debts.end) return;
  float first = 0, second = 0;
  for (int rest = 0; rest < least(tile_warps, work.steps); rest++) {
    first += from.sums[rest][place];
    second += from.sums[rest][place + pairs * positions];
  }
  const float unit = tile_unit((const T *)0);
  store_products(a, pair_rows(a, item.group, item.kind, pair), item.from + position, first * unit,
                 second * unit);
}

/// Bytes from one input to the next in shared memory: neighbours meet other banks.
DEVICE int input_stride(int bytes) { return (bytes + 127) / 128 * 128 + 64; }

/// The input that lane `lane` brings to a tile: of its own position, or of the last one.
DEVICE const char *tile_input(const dv_project_arguments &a, const Debts<tile_positions> &debts,
                              const char *inputs, int stride, int from, int lane) {
  int position = least(from + lane / 4, debts.end - 1), ago = debts.position - position;
  if (a.window == 0 || ago <= a.recent) return inputs + ago * stride;
  return (const char *)(at<CACHE>(a.kept) + (i64)(position % a.window) * a.kept_stride);
}

/// Brings inputs that earlier steps have kept to shared memory, all but the token's own.
DEVICE void copy_recent(const dv_project_arguments &a, char *inputs, int bytes, int position) {
  for (int ago = 1; ago <= least(a.recent, position); ago++) {
    i64 place = (i64)((position - ago) % a.window) * a.kept_stride;
    copy_pieces(inputs + ago * input_stride(bytes), a.kept + place * sizeof(CACHE), bytes / 16);
  }
}

/// The token's own input is brought and kept for who owes, and what is read is counted.
DEVICE void bring_input(const dv_project_arguments &a, const Debts<tile_positions> &debts, char *inputs,
                        int bytes) {
  bool keeps = blockIdx.x == 0 && a.window > 0;
  Quad *kept =
      (Quad *)(at<CACHE>(a.kept) + (i64)(debts.position % most(a.window, 1)) * a.kept_stride);
#pragma unroll 4
  for (int i = threadIdx.x; i < bytes / 16; i += blockDim.x) {
    Quad quad = at<Quad>(a.x)[i];
    ((Quad *)inputs)[i] = quad;
    if (keeps) kept[i] = quad;
  }
  if (blockIdx.x == 0 && threadIdx.x / 32 == tile_warps - 1) debts.count(a, threadIdx.x % 32);
}

/// Shared: what is on its way, the token's input and recent ones, groups and what they settled.
template <class T> DEVICE void project_tiles(const dv_project_arguments &a) {
  DYNAMIC(char, memory);
  SHARED TileSums<T> sums[2];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, bytes = TileShape<T>::vector_bytes(a.width);
  Stage<T> *ring = (Stage<T> *)memory + warp * tile_stages;
  char *inputs = memory + tile_warps * tile_stages * sizeof(Stage<T>);
  Debts<tile_positions> debts;
  debts.memory = (int *)(inputs + (1 + a.recent) * input_stride(bytes));
  bool early = !a.settles_only && (!a.groups.list || a.groups.early);
  if (!early) await_inputs();
  debts.read(a, read_known(a.groups, a.positions));
  copy_recent(a, inputs, bytes, debts.position);
  commit_copies();
  TileWork work = count_tiles<T>(a, debts);
  Asking<T> asking = {{0, 0}, {}, 0};
  asking.walk.move(warp, work.steps);
  find_rows(a, work, debts, asking, lane);
#pragma unroll
  for (int s = 0; s < tile_stages; s++) ask_next(a, work, debts, asking, ring, lane);
  if (early) await_inputs();
  if (!a.settles_only) bring_input(a, debts, inputs, bytes);
  await_copies_but<tile_stages>();
  __syncthreads();
  Walk walk = {0, 0};
  walk.move(warp, work.steps);
  int stage = 0;
  for (int tile = 0; tile < work.own; tile++) {
    const char *input =
        tile_input(a, debts, inputs, input_stride(bytes), find_tile(a, work, debts, tile).from, lane);
    float own[4] = {0, 0, 0, 0};
    int rest = walk.step;
    bool has_steps = walk.tile == tile;
    while (walk.tile == tile) {
      await_copies_but<tile_stages - 1>();
      meet_stage(ring[stage], input, a.padded_width, walk.step, lane, own);
      stage = stage + 1 == tile_stages ? 0 : stage + 1;
      ask_next(a, work, debts, asking, ring, lane);
      walk.move(tile_warps, work.steps);
    }
    if (has_steps) leave_products(sums[tile % 2], own, rest, lane);
    __syncthreads();
    finish_tile<T>(a, work, debts, sums[tile % 2], tile);
  }
}
