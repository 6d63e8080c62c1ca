// The threads of one block as fibers of the calling thread.
#pragma once
#include <cstdint>

namespace emulation {

struct Dimensions {
  unsigned x, y, z;
};

/// Runs `body(context)` for every thread of a block.
///
/// - threads: a multiple of 32.
void run_block(unsigned threads, void (*body)(const void *), const void *context);

/// Waits for all threads of the block that have not returned.
void wait_for_block();

/// Leaves `value` and reads that of another lane of the warp; all 32 lanes must come.
uint32_t shuffle(uint32_t value, unsigned lane);

/// What a lane brings to an exchange: eight words.
struct Share {
  uint32_t words[8];
};

/// Leaves `own` and returns those of all 32 lanes, which must come; they stay until the lane's next but
/// one exchange.
const Share *exchange(const Share &own);

/// A bit for every lane of the warp whose `value` is not zero.
uint32_t ballot(bool value);

extern thread_local Dimensions thread_index, block_index, block_dimensions, grid_dimensions;
/// What a launch asks for beyond the kernel's own shared memory; 256 KB.
extern thread_local unsigned char *shared_memory;

}  // namespace emulation
