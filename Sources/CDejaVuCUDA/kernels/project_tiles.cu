// Queries, keys and values of chosen heads by tensor cores, and what the heads owe.
//
// A tile is a few pairs of rows, and up to eight positions that its group owes are the columns of one
// product: what is owed costs its inputs' reading and no more. A column knows nothing of its
// neighbours, so that a deferred key equals an eager one bit for bit. The warps of a block share every
// tile: they take its steps in turn, through all of the block's tiles, and ask for the next steps
// beside what they do. Nobody waits for the others: a tile's sums are kept by what a step leaves when
// it is divided by the number of warps, so that no bit depends on who did it, and one warp after the
// other adds them up, a tile later.

enum {
  /// Pieces of 16 bytes that a lane asks for in a step.
  tile_pieces = 8,
  /// Tiles whose places are kept.
  tile_places = 64
};

/// Weights that meet inputs of their own type in tensor cores.
template <class T, class C> struct Tensor { enum { cores = 0 }; };
template <> struct Tensor<f16, f16> { enum { cores = 1 }; };
template <> struct Tensor<bf16, bf16> { enum { cores = 1 }; };

/// Warps of a block, pairs of a tile, its rows, positions that it computes at once, columns of a step, sums
/// of a lane, tiles whose sums are kept, and bytes of shared memory that a warp's step takes. Halves take
/// eight rows, so that few tiles still reach every multiprocessor.
template <class T> struct TileShape {
  enum {
    warps = dv_tile_warps,
    pairs = 4,
    rows = 8,
    positions = 8,
    columns = 256,
    sums = 4,
    buffers = 4,
    stage_bytes = dv_tile_bytes
  };
  /// Lanes that bring one position's input.
  enum { lanes = 4 };
  DEVICE_MEMBER static int vector_bytes(int width) { return arranged_width(width) * 2; }
  DEVICE_MEMBER static int row_bytes(int padded) { return 2 * padded; }
  /// What one unit of a sum is worth.
  DEVICE_MEMBER static float unit() { return 1; }
};
template <class T> struct TileDebts : Debts<TileShape<T>::positions> {};

/// What a lane has on its way of one step.
template <class T> struct Held { Quad quads[tile_pieces]; };

/// A step as its lanes have brought it to shared memory: `[row][piece]`. Of every other row pieces 4 to 7
/// come before 0 to 3, and so on, so that lanes meet every bank once.
template <class T> struct Stage {
  Quad *quads;
  DEVICE_MEMBER Stage(char *memory) { quads = (Quad *)memory; }
};

/// Where a lane finds what it asks for, in the tile whose steps it asks for: bytes from its head's first
/// row on.
template <class T> struct TileRows {
  const char *base;
  int pieces[tile_pieces];
};

/// Finds a tile's rows: first rows of all pairs, then second ones.
template <class T>
DEVICE void place_rows(const dv_project_arguments &a, TileRows<T> &own, const Item &item, int last,
                       int lane) {
  const int first = item.place * TileShape<T>::pairs;
  own.base = (const char *)row_of<T>(a, pair_rows(a, item, 0));
#pragma unroll
  for (int j = 0; j < tile_pieces; j++) {
    RowPair pair = pair_rows(a, item, least(first + j % 4, last));
    int row = pair.lane + (j >= 4 ? pair.apart : 0);
    own.pieces[j] = row * a.row_stride * (int)sizeof(T) + lane * 16;
  }
}

/// Asks for a lane's pieces of a step.
template <class T>
DEVICE void ask_held(Held<T> &held, const TileRows<T> &own, int step, int padded, int lane) {
  int at_step = 512 * step;
  bool is_there = at_step + lane * 16 < TileShape<T>::row_bytes(padded);
#pragma unroll
  for (int j = 0; j < tile_pieces; j++) {
    Quad &to = held.quads[j];
    if (is_there) to = stream(own.base + own.pieces[j] + at_step);
    else to.w[0] = to.w[1] = to.w[2] = to.w[3] = 0;
  }
}

/// Brings what a lane has asked for to where all lanes find it.
template <class T> DEVICE void put_held(const Held<T> &held, Stage<T> &stage, int lane) {
#pragma unroll
  for (int j = 0; j < tile_pieces; j++) stage.quads[32 * j + (lane ^ (j % 2 * 4))] = held.quads[j];
}

/// Adds a step's products: rows are the matrix, vectors the columns. Columns are taken in the order in
/// which lanes hold them, the same on both sides.
template <class T>
DEVICE void meet_stage(const Stage<T> &stage, const char *vector, int, int step, int lane,
                       float (&sums)[4]) {
  int row = lane / 4, piece = lane % 4;
#pragma unroll
  for (int i = 0; i < tile_pieces; i++) {
    Quad w = stage.quads[32 * row + (4 * i + piece ^ row % 2 * 4)];
    Quad x = ((const Quad *)vector)[32 * step + 4 * i + piece];
    const u32 first[4] = {w.w[0], 0, w.w[1], 0}, second[4] = {w.w[2], 0, w.w[3], 0};
    multiply_tile(sums, first, x.w[0], x.w[1], T());
    multiply_tile(sums, second, x.w[2], x.w[3], T());
  }
}

// A block's tiles ----------------------------------------------------------------------------------

/// Sums of a tile by what its steps leave, `[row, position]`, how many are there, and how often they
/// have been added up.
template <class T> struct TileSums {
  float sums[TileShape<T>::warps][TileShape<T>::rows * TileShape<T>::positions];
  int arrived, turns;
};

/// What the warps of a block share.
template <class T> struct TileBlock {
  TileSums<T> sums[TileShape<T>::buffers];
  Item items[tile_places];
};

/// What every warp knows of its block's tiles.
struct TileWork {
  KindCounts pairs, tiles;
  /// Tiles of the block, and steps of each.
  int own, steps;
  /// Where the token's input is kept in the layer's ring.
  int turn;
};

template <class T>
DEVICE TileWork count_tiles(const dv_project_arguments &a, const TileDebts<T> &debts) {
  const int pairs = TileShape<T>::pairs, columns = TileShape<T>::columns;
  TileWork work = {count_pairs(a), {0, 0, 0}, 0, (a.padded_width + columns - 1) / columns, 0};
  work.tiles = {(work.pairs.queries + pairs - 1) / pairs, (work.pairs.keys + pairs - 1) / pairs,
                (work.pairs.values + pairs - 1) / pairs};
  int items = count_items<TileShape<T>::positions>(a, work.tiles, debts);
  // Neighbours go to different blocks, so that few tiles still use the whole card.
  work.own = (items - (int)blockIdx.x + (int)gridDim.x - 1) / (int)gridDim.x;
  work.turn = debts.position % most(a.window, 1);
  return work;
}

/// A tile that the block has; most are in its memory.
template <class T>
DEVICE Item find_tile(const dv_project_arguments &a, const TileBlock<T> &block, const TileWork &work,
                      const TileDebts<T> &debts, int tile) {
  if (tile < tile_places) return block.items[tile];
  return find_item<TileShape<T>::positions>(a, work.tiles, debts, tile * (int)gridDim.x + (int)blockIdx.x);
}

template <class T>
DEVICE void open_block(const dv_project_arguments &a, TileBlock<T> &block, const TileWork &work,
                       const TileDebts<T> &debts) {
  int tile = threadIdx.x;
  if (tile < TileShape<T>::buffers) block.sums[tile].arrived = block.sums[tile].turns = 0;
  if (tile < least(tile_places, work.own))
    block.items[tile] = find_item<TileShape<T>::positions>(
        a, work.tiles, debts, tile * (int)gridDim.x + (int)blockIdx.x);
  __syncthreads();
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
  Held<T> held;
};

template <class T>
DEVICE void find_rows(const dv_project_arguments &a, const TileBlock<T> &block, const TileWork &work,
                      const TileDebts<T> &debts, Asking<T> &asking, int lane) {
  if (asking.walk.tile >= work.own) return;
  Item item = find_tile(a, block, work, debts, asking.walk.tile);
  place_rows(a, asking.own, item, last_pair(work, item.kind), lane);
}

/// Asks for a warp's next step and goes on to the one behind it.
template <class T>
DEVICE void ask_next(const dv_project_arguments &a, const TileBlock<T> &block, const TileWork &work,
                     const TileDebts<T> &debts, Asking<T> &asking, int lane) {
  if (asking.walk.tile < work.own)
    ask_held(asking.held, asking.own, asking.walk.step, a.padded_width, lane);
  if (asking.walk.move(TileShape<T>::warps, work.steps)) find_rows(a, block, work, debts, asking, lane);
}

/// Waits, as a warp, until others have brought a number in shared memory to what it should be.
DEVICE void await_number(const int *number, int wanted) {
  while (__shfl_sync(all_lanes, watched(number), 0) != wanted) {}
  publish_to_block();
}

/// Where a lane's sums go: of a row of halves two positions', of rows of codes one position's.
template <class T>
DEVICE void place_sums(float *to, const float (&sums)[4], int lane) {
  to[2 * lane] = sums[0];
  to[2 * lane + 1] = sums[1];
}
template <class T>
DEVICE void place_sums(float *to, const float (&sums)[2], int lane) {
  to[lane] = sums[0];
  to[lane + 32] = sums[1];
}

/// Leaves a warp's sums of a tile, once those of an earlier tile at their place were added up.
template <class T>
DEVICE void leave_products(TileSums<T> &to, const float (&sums)[TileShape<T>::sums], int rest, int turn,
                           int lane) {
  await_number(&to.turns, turn);
  place_sums<T>(to.sums[rest], sums, lane);
  publish_to_block();
  __syncwarp();
  if (lane == 0) atomicAdd(&to.arrived, 1);
}

/// Adds what the warps have left, and stores it: every `step`-th product from the `begin`-th on.
template <class T>
DEVICE void store_tile(const dv_project_arguments &a, const TileSums<T> &from, const TileWork &work,
                       const TileDebts<T> &debts, const Item &item, int begin, int step) {
  const int pairs = TileShape<T>::pairs, positions = TileShape<T>::positions;
  int rests = least(TileShape<T>::warps, work.steps), last = last_pair(work, item.kind);
  const float unit = TileShape<T>::unit();
  for (int place = begin; place < pairs * positions; place += step) {
    int own = place / positions, pair = item.place * pairs + own;
    int position = item.from + place % positions;
    if (pair > last || position >= debts.end) continue;
    // First rows of all pairs come first.
    const float *sums = from.sums[0] + own * positions + place % positions;
    float first = 0, second = 0;
#pragma unroll 4
    for (int rest = 0; rest < rests; rest++, sums += 2 * pairs * positions) {
      first += sums[0];
      second += sums[pairs * positions];
    }
    store_products(a, pair_rows(a, item, pair), position, first * unit, second * unit);
  }
}

/// Stores a tile, by one warp beside what the others do.
template <class T>
DEVICE void finish_tile(const dv_project_arguments &a, TileBlock<T> &block, const TileWork &work,
                        const TileDebts<T> &debts, int tile, int lane) {
  const int buffers = TileShape<T>::buffers;
  TileSums<T> &from = block.sums[tile % buffers];
  // A warp without steps of its own may come before an earlier tile's sums were added up.
  await_number(&from.turns, tile / buffers);
  await_number(&from.arrived, least(TileShape<T>::warps, work.steps));
  store_tile(a, from, work, debts, find_tile(a, block, work, debts, tile), lane, 32);
  publish_to_block();
  __syncwarp();
  if (lane != 0) return;
  from.arrived = 0;
  publish_to_block();
  atomicAdd(&from.turns, 1);
}

// Inputs -------------------------------------------------------------------------------------------

/// Bytes from one input to the next in shared memory: neighbours meet other banks.
DEVICE int input_stride(int bytes) { return (bytes + 127) / 128 * 128 + 64; }

/// Where an input of `ago` positions before the token's lies in the layer's ring.
DEVICE dv_address kept_at(const dv_project_arguments &a, const TileWork &work, int ago) {
  int turn = work.turn - ago;
  return a.kept + (i64)(turn < 0 ? turn + a.window : turn) * a.kept_stride * sizeof(CACHE);
}

/// The input that a lane brings to a tile: of its own position, or of the last one.
template <class T>
DEVICE const char *tile_input(const dv_project_arguments &a, const TileWork &work,
                              const TileDebts<T> &debts, const char *inputs, int stride,
                              int from, int lane) {
  int ago = debts.position - least(from + lane / TileShape<T>::lanes, debts.end - 1);
  return ago <= a.recent ? inputs + ago * stride : at<char>(kept_at(a, work, ago));
}

/// Brings inputs that earlier steps have kept to shared memory, all but the token's own.
DEVICE void copy_recent(const dv_project_arguments &a, const TileWork &work, char *inputs, int bytes,
                        int position) {
  for (int ago = 1; ago <= least(a.recent, position); ago++)
    copy_pieces(inputs + ago * input_stride(bytes), kept_at(a, work, ago), bytes / 16);
}

/// The token's own input is brought and kept for who owes, and what is read is counted.
template <class T>
DEVICE void bring_input(const dv_project_arguments &a, const TileWork &work,
                        const TileDebts<T> &debts, char *inputs, int bytes) {
  bool keeps = blockIdx.x == 0 && a.window > 0;
  Quad *kept = at<Quad>(kept_at(a, work, 0));
#pragma unroll 4
  for (int i = threadIdx.x; i < bytes / 16; i += blockDim.x) {
    Quad quad = at<Quad>(a.x)[i];
    ((Quad *)inputs)[i] = quad;
    if (keeps) kept[i] = quad;
  }
  if (blockIdx.x == 0 && threadIdx.x / 32 == blockDim.x / 32 - 1) debts.count(a, threadIdx.x % 32);
}

/// Shared: what is on its way of halves, the token's input and recent ones, groups and what they settled.
template <class T> DEVICE void project_tiles(const dv_project_arguments &a) {
  DYNAMIC(char, memory);
  SHARED TileBlock<T> block;
  const int buffers = TileShape<T>::buffers, warps = TileShape<T>::warps;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, bytes = TileShape<T>::vector_bytes(a.width);
  Stage<T> stage(memory + warp * TileShape<T>::stage_bytes);
  char *inputs = memory + warps * TileShape<T>::stage_bytes;
  TileDebts<T> debts;
  debts.memory = (int *)(inputs + (1 + a.recent) * input_stride(bytes));
  bool early = !a.settles_only && (!a.groups.list || a.groups.early);
  if (!early) await_inputs();
  debts.read(a);
  TileWork work = count_tiles<T>(a, debts);
  open_block(a, block, work, debts);
  Asking<T> asking;
  asking.walk = {0, 0};
  asking.walk.move(warp, work.steps);
  find_rows(a, block, work, debts, asking, lane);
  ask_next(a, block, work, debts, asking, lane);
  copy_recent(a, work, inputs, bytes, debts.position);
  if (early) await_inputs();
  if (!a.settles_only) bring_input(a, work, debts, inputs, bytes);
  await_copies();
  __syncthreads();
  Walk walk = {0, 0};
  walk.move(warp, work.steps);
  for (int tile = 0; tile < work.own; tile++) {
    int from = find_tile(a, block, work, debts, tile).from, rest = walk.step;
    const char *input = tile_input<T>(a, work, debts, inputs, input_stride(bytes), from, lane);
    float own[TileShape<T>::sums];
#pragma unroll
    for (int k = 0; k < TileShape<T>::sums; k++) own[k] = 0;
    bool has_steps = walk.tile == tile;
    while (walk.tile == tile) {
      if constexpr (TileShape<T>::stage_bytes == 0) {
        meet_held(asking.held, input, a.padded_width, walk.step, lane, own);
        ask_next(a, block, work, debts, asking, lane);
      } else {
        put_held(asking.held, stage, lane);
        __syncwarp();
        ask_next(a, block, work, debts, asking, lane);
        meet_stage(stage, input, a.padded_width, walk.step, lane, own);
        // The next step takes this one's place.
        __syncwarp();
      }
      walk.move(warps, work.steps);
    }
    if (has_steps) leave_products(block.sums[tile % buffers], own, rest, tile / buffers, lane);
    if (tile > 0 && (tile - 1) % warps == warp)
      finish_tile(a, block, work, debts, tile - 1, lane);
  }
  __syncthreads();
  if (work.own == 0) return;
  int last = work.own - 1;
  store_tile(a, block.sums[last % buffers], work, debts, find_tile(a, block, work, debts, last),
             threadIdx.x, blockDim.x);
}
