// Kernels by name.
#pragma once
#include <cstddef>

namespace emulation {

struct Entry {
  const char *name;
  void (*call)(const void *arguments);
  size_t bytes;
};

struct Module {
  const Entry *entries;
  size_t count;
  /// Columns of weights in codes that share a scale, 0 where there are no such kernels, and whether
  /// groups have zeros.
  int group, zeros;
};

/// Kernels for caches of floats and of halves, by chunks of a head.
extern const Module float_1, float_5, half_1, half_3, half_1_zeros;

}  // namespace emulation
