// Gather-then-multiply, which the engine does not do: the other side of `dejavu bench --gather`.
//
// Copies are as fast as they can be made here, and the products behind them are the engine's own,
// so that what is compared is the detour through a buffer and nothing else.
#pragma once
#include "dejavu_kernels.h"

#if defined(__clang__)
#pragma clang assume_nonnull begin
#endif

/// to[i] = from[list[i]] for rows of `bytes` bytes; rows shared among the team.
void dejavu_gather_rows(dejavu_team *team, void *to, size_t to_stride, const void *from,
                        size_t from_stride, const int32_t *list, size_t count, size_t bytes);

/// to[r, i] = from[r, list[i]] for all rows, zeros behind them up to `padded`, elements of `size`
/// bytes, 2 or 4; rows shared among the team.
void dejavu_gather_columns(dejavu_team *team, void *to, size_t to_stride, const void *from,
                           size_t from_stride, size_t rows, const int32_t *list, size_t count,
                           size_t padded, size_t size);

/// y[i] = from[list[i]] · x for rows of d elements, each read in place; rows shared among the team.
void dejavu_gathered_dots(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                          float *y, const void *from, size_t from_stride, const int32_t *list,
                          size_t count, const float *x, size_t d);

/// y[r] = w[r] · x for rows so wide that x would fill L1, in blocks; rows shared among the team.
void dejavu_wide_product(dejavu_team *team, const dejavu_kernels *kernels, int32_t weight_type,
                         float *y, const void *w, size_t w_stride, size_t rows, const float *x,
                         size_t d);

/// y[r] = Σ_i from[r, list[i]] · a[i]: each row's chosen elements are picked into the cache and
/// multiplied there. a has `padded` floats, a multiple of 32, zero behind the first `count`;
/// scratch holds `padded` elements of 4 bytes per thread.
void dejavu_gathered_columns_product(dejavu_team *team, const dejavu_kernels *kernels,
                                     int32_t weight_type, float *y, const void *from,
                                     size_t from_stride, size_t rows, const int32_t *list,
                                     size_t count, const float *a, size_t padded, void *scratch);

#if defined(__clang__)
#pragma clang assume_nonnull end
#endif
