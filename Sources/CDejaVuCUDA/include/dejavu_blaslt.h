// NVIDIA's matrix products, cuBLASLt, found when they are needed: our own declarations, no CUDA header.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "dejavu_cuda_arguments.h"

#if defined(__clang__)
#pragma clang assume_nonnull begin
#endif

/// A library handle, description, layout or preference.
typedef void *dejavu_blaslt_handle;
typedef dejavu_blaslt_handle _Nullable *dejavu_blaslt_out;

/// Numbers by which the library knows what it is told: types of elements, sums in float32 of factors as
/// they are, or of float32 factors of which tensor cores read 10 bits of mantissa (TF32), how a factor is
/// read, and what is done to a sum before it is stored.
enum {
  dejavu_blaslt_float32 = 0,
  dejavu_blaslt_float16 = 2,
  dejavu_blaslt_bfloat16 = 14,
  dejavu_blaslt_sums_float32 = 68,
  dejavu_blaslt_sums_tf32 = 77,
  dejavu_blaslt_as_is = 0,
  dejavu_blaslt_transposed = 1,
  dejavu_blaslt_plain = 1,
  dejavu_blaslt_relu = 2,
  dejavu_blaslt_bias = 4,
  dejavu_blaslt_gelu_tanh = 32,
};
/// Attributes of a description, of a layout and of a preference.
enum {
  dejavu_blaslt_first_operation = 3,
  dejavu_blaslt_second_operation = 4,
  dejavu_blaslt_epilogue = 7,
  dejavu_blaslt_bias_pointer = 8,
  dejavu_blaslt_bias_type = 26,
  dejavu_blaslt_workspace_bytes = 1,
  /// The first of four: of both factors, and of what is added and stored.
  dejavu_blaslt_alignment = 5,
};

/// What the library proposes for a shape.
typedef struct {
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
} dejavu_blaslt_proposal;

/// The library's functions; every one but `version` returns 0 when it succeeded.
typedef struct {
  size_t (*_Nullable version)(void);
  int (*_Nullable make)(dejavu_blaslt_out _Nonnull handle);
  int (*_Nullable release)(dejavu_blaslt_handle handle);
  int (*_Nullable make_product)(dejavu_blaslt_out _Nonnull product, int sums, int scale);
  int (*_Nullable release_product)(dejavu_blaslt_handle product);
  int (*_Nullable set_product)(dejavu_blaslt_handle product, int attribute, const void *value,
                               size_t bytes);
  int (*_Nullable make_layout)(dejavu_blaslt_out _Nonnull layout, int type, uint64_t rows,
                               uint64_t columns, int64_t stride);
  int (*_Nullable release_layout)(dejavu_blaslt_handle layout);
  int (*_Nullable make_preference)(dejavu_blaslt_out _Nonnull preference);
  int (*_Nullable release_preference)(dejavu_blaslt_handle preference);
  int (*_Nullable set_preference)(dejavu_blaslt_handle preference, int attribute, const void *value,
                                  size_t bytes);
  int (*_Nullable propose)(dejavu_blaslt_handle handle, dejavu_blaslt_handle product,
                           dejavu_blaslt_handle first, dejavu_blaslt_handle second,
                           dejavu_blaslt_handle added, dejavu_blaslt_handle stored,
                           dejavu_blaslt_handle preference, int wanted,
                           dejavu_blaslt_proposal *proposals, int *count);
  int (*_Nullable multiply)(dejavu_blaslt_handle handle, dejavu_blaslt_handle product,
                            const void *alpha, dv_address first, dejavu_blaslt_handle first_layout,
                            dv_address second, dejavu_blaslt_handle second_layout,
                            const void *beta, dv_address added, dejavu_blaslt_handle added_layout,
                            dv_address stored, dejavu_blaslt_handle stored_layout,
                            const uint64_t *_Nullable algorithm, dv_address workspace,
                            size_t workspace_bytes, void *_Nullable stream);
} dejavu_blaslt;

/// Looks for the library at `path`.
///
/// Returns 1 and fills in every function, or 0 where it is missing or lacks one of them.
int dejavu_blaslt_load(const char *path, dejavu_blaslt *functions);

#if defined(__clang__)
#pragma clang assume_nonnull end
#endif
