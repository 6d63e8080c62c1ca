// A card that is none: the driver's functions on the host, and the kernels' own text as C++.
#pragma once
#include "dejavu_blaslt.h"
#include "dejavu_driver.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__clang__)
#pragma clang assume_nonnull begin
#endif

/// Fills in a driver whose one card runs kernels on the calling thread, one block after the other.
///
/// Threads of a block take turns at every barrier and shuffle. Shared memory of a launch and all
/// memory that is given out begin as NaN.
void dejavu_emulated_driver(dejavu_driver *functions);

/// Fills in a library of products that does on the host what cuBLASLt does on a card, and refuses what does
/// not go together.
void dejavu_emulated_products(dejavu_blaslt *functions);

/// What `load_module` takes for kernels of a type of cache (4 bytes a float, 2 a half) and so many
/// chunks of a head, with weights in codes of such groups (0: none are needed); null for what was
/// not compiled.
const void *_Nullable dejavu_emulated_module(int cache_bytes, int chunks, int group, int zeros);

#if defined(__clang__)
#pragma clang assume_nonnull end
#endif

#ifdef __cplusplus
}
#endif
