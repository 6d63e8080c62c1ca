#include "fibers.h"

#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

namespace emulation {

thread_local Dimensions thread_index, block_index, block_dimensions, grid_dimensions;
thread_local unsigned char *shared_memory;

namespace {

enum { stack_bytes = 64 << 10, most_threads = 1024, lanes = 32 };

/// A place to go on from; switching with _setjmp is free of system calls, unlike swapcontext.
struct Fiber {
  jmp_buf state;
  std::unique_ptr<unsigned char[]> stack;
  bool runs = false;
};

/// Where the lanes of a warp meet.
struct Warp {
  uint32_t values[2][lanes];
  Share shares[2][lanes];
  unsigned arrived = 0, round = 0;
};

struct Block {
  std::vector<Fiber> fibers{most_threads};
  Warp warps[most_threads / lanes];
  jmp_buf caller;
  unsigned threads = 0, current = 0, alive = 0, waiting = 0, round = 0;
  void (*body)(const void *) = nullptr;
  const void *context = nullptr;
};

Block &block() {
  static thread_local Block it;
  return it;
}

void go_to(Block &b, unsigned next) {
  b.current = next;
  thread_index = {next, 0, 0};
  _longjmp(b.fibers[next].state, 1);
}

unsigned next_running(const Block &b) {
  unsigned next = b.current;
  do next = next + 1 == b.threads ? 0 : next + 1;
  while (!b.fibers[next].runs);
  return next;
}

/// Lets every other thread run once.
void yield() {
  Block &b = block();
  unsigned next = next_running(b);
  if (next == b.current) {
    std::fprintf(stderr, "emulation: a thread waits for others that have returned\n");
    std::abort();
  }
  if (_setjmp(b.fibers[b.current].state) == 0) go_to(b, next);
}

/// A barrier opens when every thread that is left has come.
void open_if_all_came(Block &b) {
  if (b.waiting == 0 || b.waiting < b.alive) return;
  b.waiting = 0;
  b.round++;
}

void leave(Block &b) {
  b.fibers[b.current].runs = false;
  b.alive--;
  open_if_all_came(b);
  if (b.alive == 0) _longjmp(b.caller, 1);
  go_to(b, next_running(b));
}

/// A fiber's first and only function: it takes one thread's turn of every block, for ever.
void live() {
  Block &b = block();
  if (_setjmp(b.fibers[b.current].state) == 0) _longjmp(b.caller, 1);
  for (;;) {
    b.body(b.context);
    // Where the next block's thread begins.
    if (_setjmp(b.fibers[b.current].state) == 0) leave(b);
  }
}

/// Gives a fiber its stack and lets it come to its first stop.
void start(Block &b, unsigned index) {
  Fiber &fiber = b.fibers[index];
  fiber.stack.reset(new unsigned char[stack_bytes]);
  ucontext_t made, here;
  getcontext(&made);
  made.uc_stack.ss_sp = fiber.stack.get();
  made.uc_stack.ss_size = stack_bytes;
  made.uc_link = nullptr;
  makecontext(&made, live, 0);
  b.current = index;
  if (_setjmp(b.caller) == 0) swapcontext(&here, &made);
}

}  // namespace

void run_block(unsigned threads, void (*body)(const void *), const void *context) {
  Block &b = block();
  b.body = body;
  b.context = context;
  for (unsigned i = 0; i < threads; i++) {
    if (!b.fibers[i].stack) start(b, i);
  }
  b.threads = b.alive = threads;
  b.waiting = b.round = 0;
  for (unsigned i = 0; i < threads; i++) b.fibers[i].runs = true;
  for (unsigned i = 0; i < threads / lanes; i++) b.warps[i].arrived = b.warps[i].round = 0;
  if (_setjmp(b.caller) == 0) go_to(b, 0);
}

void wait_for_block() {
  Block &b = block();
  unsigned round = b.round;
  b.waiting++;
  open_if_all_came(b);
  while (b.round == round) yield();
}

uint32_t shuffle(uint32_t value, unsigned lane) {
  Block &b = block();
  Warp &warp = b.warps[b.current / lanes];
  unsigned own = b.current % lanes, round = warp.round;
  // A lane is at most one meeting ahead of the slowest, which still reads the last one's values.
  uint32_t *values = warp.values[round % 2];
  values[own] = value;
  if (++warp.arrived == lanes) {
    warp.arrived = 0;
    warp.round++;
  }
  while (warp.round == round) yield();
  return values[lane % lanes];
}

const Share *exchange(const Share &own) {
  Block &b = block();
  Warp &warp = b.warps[b.current / lanes];
  Share *shares = warp.shares[warp.round % 2];
  shares[b.current % lanes] = own;
  shuffle(0, 0);
  return shares;
}

uint32_t ballot(bool value) {
  Block &b = block();
  Warp &warp = b.warps[b.current / lanes];
  uint32_t *values = warp.values[warp.round % 2];
  shuffle(value, 0);
  uint32_t votes = 0;
  for (unsigned i = 0; i < lanes; i++) votes |= (uint32_t)(values[i] != 0) << i;
  return votes;
}

}  // namespace emulation
