// Types, loads and sums that all kernels share. No CUDA header is included: NVRTC's wheel has none.
#ifndef DEJAVU_EMULATED
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define SHARED __shared__
#define DYNAMIC(type, name) type *name = (type *)dynamic_memory
/// What a launch asks for beyond the kernel's own shared memory.
extern __shared__ __align__(16) unsigned char dynamic_memory[];
#endif

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

struct f16 { u16 bits; };
struct bf16 { u16 bits; };
/// 16 bytes: what one load moves.
struct alignas(16) Quad { u32 w[4]; };

template <class T> DEVICE T *at(dv_address address) { return (T *)address; }

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
/// A load of weights: read once, so the first-level cache keeps nothing.
DEVICE Quad stream(const void *from) {
  Quad quad;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(quad.w[0]), "=r"(quad.w[1]), "=r"(quad.w[2]), "=r"(quad.w[3])
      : "l"(from));
  return quad;
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

DEVICE float block_greatest(float value, float *scratch) {
  value = warp_greatest(value);
  int warps = blockDim.x / 32;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  float greatest =
      warp_greatest((int)(threadIdx.x % 32) < warps ? scratch[threadIdx.x % 32] : -INFINITY);
  __syncthreads();
  return greatest;
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

/// Reads, normalises and arranges a vector by the whole block; zeros behind it.
template <int count>
DEVICE void load_vector(float *to, const float *x, int width, const dv_norm &norm, float *scratch) {
  float sum = 0;
  for (int i = threadIdx.x; i < arranged_width(width); i += blockDim.x) {
    float value = i < width ? x[i] : 0.0f;
    to[arranged<count>(i)] = value;
    sum += value;
  }
  if (norm.kind != 0) {
    float mean = norm.kind == 1 ? block_sum(sum, scratch) / width : 0.0f;
    float squares = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
      float value = to[arranged<count>(i)] - mean;
      squares = fmaf(value, value, squares);
    }
    float scale = 1.0f / sqrtf(block_sum(squares, scratch) / width + norm.epsilon);
    const float *weight = at<float>(norm.weight), *bias = at<float>(norm.bias);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
      float value = (to[arranged<count>(i)] - mean) * scale;
      if (weight) value *= weight[i];
      if (bias) value += bias[i];
      to[arranged<count>(i)] = value;
    }
  }
  __syncthreads();
}

/// One lane's share of `row · x`, four loads in flight.
template <class T> DEVICE float lane_dot(const T *row, const float *x, int padded, int lane) {
  const int count = Pack<T>::count, step = 32 * count;
  float sum = 0;
  int i = lane * count;
  for (; i + 3 * step < padded; i += 4 * step) {
    Quad quads[4];
#pragma unroll
    for (int j = 0; j < 4; j++) quads[j] = stream(row + i + j * step);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      float w[count];
      unpack(quads[j], w, T());
      const float *values = x + (i + j * step) / step * step + lane * 4;
#pragma unroll
      for (int k = 0; k < count; k++) sum = fmaf(w[k], values[(k / 4) * 128 + (k & 3)], sum);
    }
  }
  for (; i < padded; i += step) {
    float w[count];
    unpack(stream(row + i), w, T());
    const float *values = x + i / step * step + lane * 4;
#pragma unroll
    for (int k = 0; k < count; k++) sum = fmaf(w[k], values[(k / 4) * 128 + (k & 3)], sum);
  }
  return sum;
}

/// The same for several vectors, whose sums are those of `lane_dot` bit for bit.
template <class T, int vectors>
DEVICE void lane_dots(const T *row, const float *const (&x)[vectors], int padded, int lane,
                      float (&sums)[vectors]) {
  const int count = Pack<T>::count, step = 32 * count;
#pragma unroll
  for (int v = 0; v < vectors; v++) sums[v] = 0;
  for (int i = lane * count; i < padded; i += step) {
    float w[count];
    unpack(stream(row + i), w, T());
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      const float *values = x[v] + i / step * step + lane * 4;
#pragma unroll
      for (int k = 0; k < count; k++)
        sums[v] = fmaf(w[k], values[(k / 4) * 128 + (k & 3)], sums[v]);
    }
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

DEVICE int chosen_count(const dv_choice &choice, int token) {
  return choice.count ? at<int>(choice.count)[token] : choice.all;
}
DEVICE int chosen_row(const dv_choice &choice, int token, int entry) {
  return choice.list ? at<int>(choice.list)[(i64)token * choice.stride + entry] : entry;
}

/// Makes one kernel per stored type of weights.
#define FOR_WEIGHTS(threads, blocks, name, arguments) \
  KERNEL(threads, blocks) name##_f32(arguments a) { name<float>(a); } \
  KERNEL(threads, blocks) name##_f16(arguments a) { name<f16>(a); } \
  KERNEL(threads, blocks) name##_bf16(arguments a) { name<bf16>(a); }
