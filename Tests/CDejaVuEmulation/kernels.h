// The kernels' own text as C++, once for each file that includes this: HEAD_CHUNKS and CACHE say
// for which cache, MODULE names the result.
#include <cmath>
#include <cstring>

#include "dejavu_cuda_arguments.h"
#include "dejavu_cuda_prompts.h"
#include "dejavu_cuda_training.h"
#include "fibers.h"
#include "registry.h"

#define DEJAVU_EMULATED 1

namespace {

using emulation::block_dimensions;
using emulation::block_index;
using emulation::grid_dimensions;
using emulation::thread_index;

#define threadIdx thread_index
#define blockIdx block_index
#define blockDim block_dimensions
#define gridDim grid_dimensions
#define DEVICE static inline __attribute__((unused))
#define DEVICE_MEMBER inline
#define KERNEL(threads, blocks) static void
#define SHARED static thread_local
#define GRID_CONSTANT
#define DYNAMIC(type, name) type *name = (type *)emulation::shared_memory

DEVICE void __syncthreads() { emulation::wait_for_block(); }
template <class T> DEVICE T __shfl_sync(unsigned, T value, int lane) {
  unsigned bits;
  std::memcpy(&bits, &value, 4);
  bits = emulation::shuffle(bits, (unsigned)lane);
  std::memcpy(&value, &bits, 4);
  return value;
}
template <class T> DEVICE T __shfl_xor_sync(unsigned mask, T value, int step) {
  return __shfl_sync(mask, value, (int)(threadIdx.x % 32) ^ step);
}
template <class T> DEVICE T __shfl_down_sync(unsigned mask, T value, int step) {
  int lane = (int)(threadIdx.x % 32);
  return __shfl_sync(mask, value, lane + step < 32 ? lane + step : lane);
}
DEVICE unsigned __ballot_sync(unsigned, bool value) { return emulation::ballot(value); }
DEVICE void __syncwarp() { emulation::ballot(true); }
DEVICE int __popc(unsigned value) { return __builtin_popcount(value); }
// Threads take turns: nothing happens between reading and writing.
DEVICE int atomicAdd(int *to, int value) {
  int old = *to;
  *to += value;
  return old;
}
DEVICE unsigned long long atomicAdd(unsigned long long *to, unsigned long long value) {
  unsigned long long old = *to;
  *to += value;
  return old;
}
DEVICE unsigned atomicOr(unsigned *to, unsigned value) {
  unsigned old = *to;
  *to |= value;
  return old;
}
DEVICE int atomicMax(int *to, int value) {
  int old = *to;
  if (value > old) *to = value;
  return old;
}
DEVICE float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
DEVICE float __int_as_float(int bits) { return __uint_as_float((unsigned)bits); }
DEVICE unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

DEVICE float widen_f16(unsigned short bits) {
  _Float16 half;
  std::memcpy(&half, &bits, 2);
  return (float)half;
}
DEVICE unsigned short narrow_f16(float value) {
  _Float16 half = (_Float16)value;
  unsigned short bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}
DEVICE unsigned short narrow_bf16(float value) {
  unsigned bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}
DEVICE unsigned pick_bytes(unsigned first, unsigned second, unsigned which) {
  unsigned long long all = (unsigned long long)second << 32 | first;
  unsigned bytes = 0;
  for (int i = 0; i < 4; i++)
    bytes |= (unsigned)(all >> (which >> (4 * i) & 7) * 8 & 255) << (8 * i);
  return bytes;
}
DEVICE unsigned stream_word(const void *from) {
  if ((unsigned long long)from % 4) __builtin_trap();
  return *(const unsigned *)from;
}
// What another block leaves would never come: blocks run one after the other.
DEVICE void leave_marked(unsigned long long *to, float value) {
  *to = 1ull << 32 | __float_as_uint(value);
}
DEVICE float await_marked(const unsigned long long *from) {
  if (*from >> 32 == 0) __builtin_trap();
  return __uint_as_float((unsigned)*from);
}
DEVICE int dot4(unsigned codes, unsigned q, int sum) {
  for (int i = 0; i < 4; i++)
    sum += (int)((codes >> (8 * i)) & 255) * (int)(signed char)((q >> (8 * i)) & 255);
  return sum;
}
struct Quad;
struct f16;
DEVICE Quad stream(const void *from);
DEVICE void stream_if(Quad &quad, const void *from, bool reads);
DEVICE const char *step_to(const char *from, unsigned units) { return from + (unsigned long long)units * 16; }
DEVICE f16 stream_half(const f16 *from);
// Launches run one after the other, and blocks too: what was written can be seen.
DEVICE void await_inputs(bool = true) {}
DEVICE void fetch_ahead(const void *) {}
DEVICE void fetch_pieces(const void *from, unsigned bytes) {
  if ((unsigned long long)from % 16 || bytes % 16) __builtin_trap();
}
DEVICE void copy_quad(void *to, const void *from);
DEVICE void await_copies() {}
DEVICE void close_copies() {}
DEVICE void await_older_copies() {}
DEVICE void load_tiles(unsigned (&tiles)[4], const void *row);
DEVICE void load_tiles_turned(unsigned (&tiles)[4], const void *row);
DEVICE void publish() {}
DEVICE void publish_to_block() {}
template <class T> DEVICE T fresh(const T *from) { return *from; }

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunused-function"
#include "../../Sources/CDejaVuCUDA/kernels/common.cuh"

DEVICE Quad stream(const void *from) {
  if ((unsigned long long)from % 16) __builtin_trap();
  return *(const Quad *)from;
}
DEVICE void stream_if(Quad &quad, const void *from, bool reads) {
  if (reads) quad = stream(from);
}
DEVICE f16 stream_half(const f16 *from) { return *from; }
DEVICE void copy_quad(void *to, const void *from) { *(Quad *)to = stream(from); }

/// A product of 16 rows with 8 columns as a warp holds them, `each` neighbours to a word.
template <int each, class Sum, class Product>
DEVICE void multiply_warp(Sum (&sums)[4], const u32 (&rows)[4], u32 first, u32 second, Product product) {
  int lane = threadIdx.x % 32;
  const emulation::Share *all =
      emulation::exchange({{rows[0], rows[1], rows[2], rows[3], first, second, 0, 0}});
  for (int i = 0; i < 4; i++) {
    int row = lane / 4 * 4, column = (lane % 4 * 2 + i % 2) * 4;
    for (int j = 0; j < 4; j++)
      for (int half = 0; half < 2; half++)
        for (int k = 0; k < each; k++)
          sums[i] += product(all[row + j].words[i / 2 + 2 * half], all[column + j].words[4 + half], k);
  }
}
template <class T> DEVICE float half_product(u32 a, u32 b, int k) {
  T first, second;
  first.bits = (u16)(a >> (16 * k));
  second.bits = (u16)(b >> (16 * k));
  return widen(first) * widen(second);
}
DEVICE void multiply_tile(float (&sums)[4], const u32 (&rows)[4], u32 first, u32 second, f16) {
  multiply_warp<2>(sums, rows, first, second, half_product<f16>);
}
DEVICE void multiply_tile(float (&sums)[4], const u32 (&rows)[4], u32 first, u32 second, bf16) {
  multiply_warp<2>(sums, rows, first, second, half_product<bf16>);
}
DEVICE void multiply_codes(int (&sums)[4], const u32 (&rows)[4], u32 first, u32 second) {
  multiply_warp<4>(sums, rows, first, second, [](u32 a, u32 b, int k) {
    return (int)(signed char)(a >> (8 * k) & 255) * (int)(signed char)(b >> (8 * k) & 255);
  });
}

/// The row that a lane named.
DEVICE const u16 *named_row(const emulation::Share &share) {
  const u16 *row;
  std::memcpy(&row, share.words, sizeof row);
  if ((unsigned long long)row % 16) __builtin_trap();
  return row;
}
DEVICE const emulation::Share *name_rows(const void *row) {
  emulation::Share own = {};
  std::memcpy(own.words, &row, sizeof row);
  return emulation::exchange(own);
}
DEVICE void load_tiles(u32 (&tiles)[4], const void *row) {
  int lane = threadIdx.x % 32;
  const emulation::Share *all = name_rows(row);
  for (int i = 0; i < 4; i++)
    std::memcpy(&tiles[i], named_row(all[8 * i + lane / 4]) + lane % 4 * 2, 4);
}
DEVICE void load_tiles_turned(u32 (&tiles)[4], const void *row) {
  int lane = threadIdx.x % 32;
  const emulation::Share *all = name_rows(row);
  for (int i = 0; i < 4; i++) {
    const emulation::Share *own = all + 8 * i + lane % 4 * 2;
    tiles[i] = named_row(own[0])[lane / 4] | (u32)named_row(own[1])[lane / 4] << 16;
  }
}

#include "../../Sources/CDejaVuCUDA/kernels/score.cu"
#include "../../Sources/CDejaVuCUDA/kernels/groupwise.cuh"
#include "../../Sources/CDejaVuCUDA/kernels/stream.cu"
#include "../../Sources/CDejaVuCUDA/kernels/debts.cuh"
#include "../../Sources/CDejaVuCUDA/kernels/project_tiles.cu"
#include "../../Sources/CDejaVuCUDA/kernels/groupwise_tiles.cuh"
#include "../../Sources/CDejaVuCUDA/kernels/project.cu"
#include "../../Sources/CDejaVuCUDA/kernels/attention.cu"
#include "../../Sources/CDejaVuCUDA/kernels/gather.cu"
#include "../../Sources/CDejaVuCUDA/kernels/groupwise_factors.cuh"
#include "../../Sources/CDejaVuCUDA/kernels/groupwise_sums.cu"
#include "../../Sources/CDejaVuCUDA/kernels/groupwise_rows.cu"
#include "../../Sources/CDejaVuCUDA/kernels/choose.cu"
#include "../../Sources/CDejaVuCUDA/kernels/renew.cu"
#include "../../Sources/CDejaVuCUDA/kernels/sample.cu"
#include "../../Sources/CDejaVuCUDA/kernels/operands.cu"
#include "../../Sources/CDejaVuCUDA/kernels/prompt_tiles.cu"
#include "../../Sources/CDejaVuCUDA/kernels/prompt.cu"
#include "../../Sources/CDejaVuCUDA/kernels/train.cu"
#pragma clang diagnostic pop

/// Calls a kernel with arguments that lie in memory.
template <auto kernel> struct Caller;
template <class Arguments, void (*kernel)(Arguments)> struct Caller<kernel> {
  static void call(const void *bytes) {
    Arguments arguments;
    std::memcpy(&arguments, bytes, sizeof arguments);
    kernel(arguments);
  }
  static constexpr emulation::Entry entry(const char *name) {
    return {name, call, sizeof(Arguments)};
  }
};

#define ONE(name) Caller<name>::entry(#name),
#define TYPED(name) ONE(name##_f32) ONE(name##_f16) ONE(name##_bf16)

#ifdef CODE_GROUP
#define CODED(name) ONE(name##_i4) ONE(name##_i8)
#else
#define CODED(name)
#define CODE_GROUP 0
#define CODE_ZEROS 0
#endif

const emulation::Entry entries[] = {
    TYPED(embed_rows) TYPED(project_rows) TYPED(fill_rows) TYPED(project_heads)
    TYPED(sum_heads) TYPED(raise_neurons) TYPED(sum_neurons) TYPED(size_neurons)
    TYPED(size_groups) TYPED(multiply_rows) TYPED(multiply_columns)
    ONE(normalize_rows) ONE(add_parts) ONE(clear_words) ONE(assign_list) ONE(read_memory)
    ONE(attend_cache) ONE(merge_context) ONE(clip_settled) ONE(fork_planes) ONE(prepare_vectors) ONE(score_rows)
    ONE(renew_stream)
    ONE(find_likeliest) ONE(weigh_tokens) ONE(choose_token)
    ONE(select_rows) ONE(store_keys) ONE(turn_queries) ONE(attend_prompt) ONE(mask_rows)
    ONE(activate_rows) ONE(narrow_rows_f16) ONE(narrow_rows_bf16) ONE(look_over) ONE(add_rows)
    ONE(count_codes) ONE(differentiate_logits) ONE(sum_tokens) ONE(transpose_rows) ONE(step_weights)
    CODED(embed_rows) CODED(project_rows) CODED(project_heads) CODED(sum_heads)
    CODED(raise_neurons) CODED(sum_neurons) CODED(size_neurons) CODED(size_groups)
    CODED(multiply_rows) CODED(multiply_columns)
#if CODE_GROUP
    ONE(fill_codes) CODED(decode_rows)
#endif
};

}  // namespace

namespace emulation {
const Module MODULE = {entries, sizeof entries / sizeof *entries, CODE_GROUP, CODE_ZEROS};
}
