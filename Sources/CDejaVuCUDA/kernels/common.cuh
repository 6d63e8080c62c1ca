// Types, loads and sums that all kernels share. No CUDA header is included: NVRTC's wheel has none.
#ifndef DEJAVU_EMULATED
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define SHARED __shared__
#define GRID_CONSTANT __grid_constant__
#define DYNAMIC(type, name) type *name = (type *)dynamic_memory
/// What a launch asks for beyond the kernel's own shared memory.
extern __shared__ __align__(16) unsigned char dynamic_memory[];
#endif

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

struct f16 { u16 bits; };
struct bf16 { u16 bits; };
/// 16 bytes: what one load moves.
struct alignas(16) Quad { u32 w[4]; };
struct alignas(8) Pair { u32 w[2]; };

template <class T> DEVICE T *at(dv_address address) { return (T *)address; }

DEVICE int least(int a, int b) { return a < b ? a : b; }
DEVICE int most(int a, int b) { return a > b ? a : b; }

// Numbers ----------------------------------------------------------------------------------------

#ifndef DEJAVU_EMULATED
DEVICE float widen_f16(u16 bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
DEVICE u16 narrow_f16(float value) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
DEVICE u16 narrow_bf16(float value) {
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
/// Weights leave the second-level cache first, so that what every layer writes, reads and runs stays there. The
/// policy is what `createpolicy` gives on such cards: a constant takes no register.
enum : u64 { leaves_first = 0x12f0000000000000 };
#if __CUDA_ARCH__ >= 900
#define POLICY ".L2::cache_hint"
#define BY(operand) ", " operand
#else
#define POLICY
#define BY(operand)
#endif
/// A load of weights: read once, so the first-level cache keeps nothing.
DEVICE Quad stream(const void *from) {
  Quad quad;
  // Volatile: what is asked for before inputs are there must not be put off until behind it.
  asm volatile("ld.global.nc.L1::no_allocate" POLICY ".v4.u32 {%0, %1, %2, %3}, [%4]" BY("%5") ";"
      : "=r"(quad.w[0]), "=r"(quad.w[1]), "=r"(quad.w[2]), "=r"(quad.w[3])
      : "l"(from), "l"((u64)leaves_first));
  return quad;
}
/// The same where `reads`; else `quad` stays as it is.
DEVICE void stream_if(Quad &quad, const void *from, bool reads) {
  asm volatile("{ .reg .pred reads; setp.ne.u32 reads, %5, 0;\n"
      "@reads ld.global.nc.L1::no_allocate" POLICY ".v4.u32 {%0, %1, %2, %3}, [%4]" BY("%6") "; }"
      : "+r"(quad.w[0]), "+r"(quad.w[1]), "+r"(quad.w[2]), "+r"(quad.w[3])
      : "l"(from), "r"((u32)reads), "l"((u64)leaves_first));
}
/// The address `units` of 16 bytes behind another, by one instruction.
DEVICE const char *step_to(const char *from, u32 units) {
  const char *to;
  asm("mad.wide.u32 %0, %1, 16, %2;" : "=l"(to) : "r"(units), "l"(from));
  return to;
}
DEVICE f16 stream_half(const f16 *from) {
  f16 half;
  asm volatile("ld.global.nc" POLICY ".u16 %0, [%1]" BY("%2") ";"
      : "=h"(half.bits)
      : "l"(from), "l"((u64)leaves_first));
  return half;
}
/// Waits until all that earlier launches wrote can be seen; before it a kernel may read only what
/// no launch of the step writes, and what was written two launches before it or earlier.
///
/// A kernel starts when every block of the one before it has come to its own `await_inputs`, and
/// that one when the launch before was done: some blocks need not wait, as long as others do.
DEVICE void await_inputs(bool waits = true) {
#if __CUDA_ARCH__ >= 900
  if (waits) asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
/// Asks for 128 bytes that will be read soon.
DEVICE void fetch_ahead(const void *from) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}
/// Reads what an earlier launch wrote, past the first-level cache.
DEVICE int fresh(const int *from) {
  int value;
  asm volatile("ld.global.cg.s32 %0, [%1];" : "=r"(value) : "l"(from));
  return value;
}
DEVICE float fresh(const float *from) {
  float value;
  asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(value) : "l"(from));
  return value;
}
/// Copies 16 bytes to shared memory beside what the thread does; `await_copies` says they are there.
DEVICE void copy_quad(void *to, const void *from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((u32)__cvta_generic_to_shared(to)),
               "l"(from)
               : "memory");
}
DEVICE void await_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
/// Copies since the last close belong together; `await_older_copies` waits for all but the last that
/// were closed.
DEVICE void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
DEVICE void await_older_copies() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }
/// Four tiles of 8 x 8 halves from shared memory: lane l names row l % 8 of tile l / 8, and receives of
/// every tile the pair at 2 (l % 4) in row l / 4; turned, in column l / 4 the pair of rows there.
DEVICE void load_tiles(u32 (&tiles)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
      : "r"((u32)__cvta_generic_to_shared(row))
      : "memory");
}
DEVICE void load_tiles_turned(u32 (&tiles)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
      : "r"((u32)__cvta_generic_to_shared(row))
      : "memory");
}
/// Orders what this thread wrote before what it writes next, for the whole card.
DEVICE void publish() { __threadfence(); }
/// The same for the block.
DEVICE void publish_to_block() { __threadfence_block(); }
/// Leaves a number for another block of the launch, with a mark that it is there.
DEVICE void leave_marked(u64 *to, float value) {
  u64 word = (u64)1 << 32 | __float_as_uint(value);
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(to), "l"(word) : "memory");
}
/// A number that another block leaves; all blocks of the launch must live at once.
DEVICE float await_marked(const u64 *from) {
  u64 word;
  do asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(word) : "l"(from) : "memory");
  while (word >> 32 == 0);
  return __uint_as_float((u32)word);
}
DEVICE u32 stream_word(const void *from) {
  u32 word;
  asm volatile("ld.global.nc" POLICY ".u32 %0, [%1]" BY("%2") ";"
      : "=r"(word)
      : "l"(from), "l"((u64)leaves_first));
  return word;
}
/// Four of the eight bytes of two words, by the nibbles of `which`.
DEVICE u32 pick_bytes(u32 first, u32 second, u32 which) {
  u32 bytes;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(first), "r"(second), "r"(which));
  return bytes;
}
/// Adds a product of 16 rows with 8 columns over 16 halves each: lane l holds of rows l / 4 and l / 4 + 8
/// and of column l / 4 two pairs of neighbours at l % 4, `rows` as first pairs of both rows, then second
/// ones; of the sums both rows' with columns 2 (l % 4) and the next.
DEVICE void multiply_tile(float (&sums)[4], const u32 (&rows)[4], u32 first, u32 second, f16) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(first), "r"(second));
}
DEVICE void multiply_tile(float (&sums)[4], const u32 (&rows)[4], u32 first, u32 second, bf16) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(first), "r"(second));
}
/// The same over 32 signed bytes each, four neighbours where halves have two.
DEVICE void multiply_codes(int (&sums)[4], const u32 (&rows)[4], u32 first, u32 second) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(first), "r"(second));
}
/// Σ_i codes[i] · q[i] + sum over four bytes, codes without and q with sign.
DEVICE int dot4(u32 codes, u32 q, int sum) {
  int result;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(codes), "r"(q), "r"(sum));
  return result;
}
#endif

DEVICE float widen(f16 value) { return widen_f16(value.bits); }
DEVICE float widen(bf16 value) { return __uint_as_float((u32)value.bits << 16); }
DEVICE float widen(float value) { return value; }
DEVICE void narrow(float value, f16 *to) { to->bits = narrow_f16(value); }
DEVICE void narrow(float value, bf16 *to) { to->bits = narrow_bf16(value); }
DEVICE void narrow(float value, float *to) { *to = value; }

/// What 16 bytes of a type hold.
template <class T> struct Pack { enum { count = 8 }; };
template <> struct Pack<float> { enum { count = 4 }; };

DEVICE void unpack(const Quad &quad, float (&out)[8], f16) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    out[2 * i] = widen_f16((u16)(quad.w[i] & 0xffff));
    out[2 * i + 1] = widen_f16((u16)(quad.w[i] >> 16));
  }
}
DEVICE void unpack(const Quad &quad, float (&out)[8], bf16) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    out[2 * i] = __uint_as_float(quad.w[i] << 16);
    out[2 * i + 1] = __uint_as_float(quad.w[i] & 0xffff0000u);
  }
}
DEVICE void unpack(const Quad &quad, float (&out)[4], float) {
#pragma unroll
  for (int i = 0; i < 4; i++) out[i] = __uint_as_float(quad.w[i]);
}

/// Reads a number in shared memory that another warp may just have changed.
DEVICE int watched(const int *number) { return *(const volatile int *)number; }

// Sums over threads ------------------------------------------------------------------------------

enum { all_lanes = 0xffffffff };

DEVICE float warp_sum(float value) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) value += __shfl_xor_sync(all_lanes, value, step);
  return value;
}

DEVICE float warp_greatest(float value) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1)
    value = fmaxf(value, __shfl_xor_sync(all_lanes, value, step));
  return value;
}

/// Sum over the block, in one order; `scratch` holds 32 floats and may be used again at once.
DEVICE float block_sum(float value, float *scratch) {
  value = warp_sum(value);
  int warps = blockDim.x / 32;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = warp_sum((int)(threadIdx.x % 32) < warps ? scratch[threadIdx.x % 32] : 0.0f);
  __syncthreads();
  return sum;
}

/// Sum of what the threads before this one bring.
DEVICE int sum_before(int value, int *scratch, int *total) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, sum = value;
#pragma unroll
  for (int step = 1; step < 32; step <<= 1) {
    int other = __shfl_sync(all_lanes, sum, lane >= step ? lane - step : lane);
    if (lane >= step) sum += other;
  }
  if (lane == 31) scratch[warp] = sum;
  __syncthreads();
  int before = 0, all = 0;
  for (int w = 0; w < (int)blockDim.x / 32; w++) {
    before += w < warp ? scratch[w] : 0;
    all += scratch[w];
  }
  *total = all;
  return before + sum - value;
}

// Vectors that rows are multiplied with ----------------------------------------------------------

/// Where element i of a vector lies beside weights of `count` to 16 bytes: four neighbours stay
/// together and a warp's reads meet every bank once.
template <int count> DEVICE int arranged(int i) {
  if (count == 4) return i;
  int lane = (i & 255) >> 3;
  return (i & ~255) + ((i & 4) << 5) + lane * 4 + (i & 3);
}

/// Floats of an arranged vector.
DEVICE int arranged_width(int width) { return (width + 255) & ~255; }

/// Four floats of a vector from lane i on, zeros behind its width.
DEVICE Quad read_piece(const float *x, int i, int width) {
  Quad quad;
  if (i + 3 < width) return *(const Quad *)(x + i);
#pragma unroll
  for (int k = 0; k < 4; k++) quad.w[k] = i + k < width ? __float_as_uint(x[i + k]) : 0;
  return quad;
}

/// Writes four floats from lane i on, none behind the width.
DEVICE void store_piece(float *x, int i, int width, const float (&values)[4]) {
  Quad quad;
#pragma unroll
  for (int k = 0; k < 4; k++) quad.w[k] = __float_as_uint(values[k]);
  if (i + 3 < width) *(Quad *)(x + i) = quad;
  else
#pragma unroll
    for (int k = 0; k < 4; k++)
      if (i + k < width) x[i + k] = values[k];
}

/// Four neighbours in 16 bits each.
struct alignas(8) Halves { u32 w[2]; };

DEVICE u32 pair(float first, float second, f16) {
  return narrow_f16(first) | (u32)narrow_f16(second) << 16;
}
DEVICE u32 pair(float first, float second, bf16) {
  return narrow_bf16(first) | (u32)narrow_bf16(second) << 16;
}

/// Copies 16-byte pieces to shared memory; `await_copies` and the block's barrier say when they are
/// there. Blocks begin at different places, so that they do not all ask the same memory at once.
DEVICE void copy_pieces(void *to, dv_address from, int pieces) {
  int place = threadIdx.x + blockIdx.x % 8 * (pieces / 8);
  for (int p = threadIdx.x; p < pieces; p += blockDim.x, place += blockDim.x) {
    if (place >= pieces) place -= pieces;
    copy_quad((Quad *)to + place, at<Quad>(from) + place);
  }
}

// Rows -------------------------------------------------------------------------------------------

/// Pieces of a row that a lane has on their way, 16 bytes each.
enum { row_pieces = 8 };
struct Pieces { Quad quads[row_pieces]; };

/// Asks for a lane's next pieces of a row, zeros behind its end.
template <class T>
DEVICE void ask_row(Pieces &pieces, const T *row, int from, int padded, int lane) {
  const int count = Pack<T>::count, step = 32 * count;
#pragma unroll
  for (int j = 0; j < row_pieces; j++) {
    int i = from + j * step + lane * count;
    if (i < padded) pieces.quads[j] = stream(row + i);
    else pieces.quads[j].w[0] = pieces.quads[j].w[1] = pieces.quads[j].w[2] = pieces.quads[j].w[3] = 0;
  }
}

/// One lane's share of `row · x`, whose first pieces were asked for.
template <class T>
DEVICE float row_dot(Pieces &pieces, const T *row, const float *x, int padded, int lane) {
  const int count = Pack<T>::count, step = 32 * count;
  float sum = 0;
  for (int from = 0;;) {
#pragma unroll
    for (int j = 0; j < row_pieces; j++) {
      if (from + j * step >= padded) break;
      float w[count];
      unpack(pieces.quads[j], w, T());
      const float *values = x + from + j * step + lane * 4;
#pragma unroll
      for (int k = 0; k < count; k++) sum = fmaf(w[k], values[(k / 4) * 128 + (k & 3)], sum);
    }
    from += row_pieces * step;
    if (from >= padded) return sum;
    ask_row(pieces, row, from, padded, lane);
  }
}

// Activations ------------------------------------------------------------------------------------

enum { act_relu = 0, act_gelu = 1, act_gelu_tanh = 2, act_silu = 3 };

DEVICE float activated(float x, int kind) {
  switch (kind) {
  case act_relu: return x < 0 ? 0.0f : x;
  case act_gelu: return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
  case act_gelu_tanh:
    return 0.5f * x * (1 + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  case act_silu: return x / (1 + expf(-x));
  default: return x;
  }
}

/// Makes one kernel per stored type of weights.
#define FOR_WEIGHTS(threads, blocks, name, arguments) \
  KERNEL(threads, blocks) name##_f32(const GRID_CONSTANT arguments a) { name<float>(a); } \
  KERNEL(threads, blocks) name##_f16(const GRID_CONSTANT arguments a) { name<f16>(a); } \
  KERNEL(threads, blocks) name##_bf16(const GRID_CONSTANT arguments a) { name<bf16>(a); }
