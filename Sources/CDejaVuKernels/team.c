// A thread team whose threads claim chunks one by one.
//
// `ticket` is generation << 32 | next chunk. A chunk is claimed by compare-and-swap on it, so a
// thread that wakes late finds another generation and takes nothing; it is never waited for. Only
// claimed chunks are: a job is over when `done` has counted all of them. Its task and context
// stay valid for whoever holds a claim, so they are read after the claim. Before they change, the
// ticket is closed: a thread that read it when the last job's chunks had run out, and reads the
// number of chunks only now, would otherwise claim a chunk of the next job before it has begun.
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "dejavu_kernels.h"

#if defined(__x86_64__)
#define RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX()
#endif

// About 40 µs on a 3 GHz machine: longer than the serial work between two blocks, and short
// enough that a busy neighbour is not robbed of its core for long.
enum { SPINS = 1000 };

/// No job has a chunk of this number.
static const uint64_t CLOSED = 0xFFFFFFFF;

struct dejavu_team {
  _Alignas(64) _Atomic uint64_t ticket;
  _Alignas(64) _Atomic size_t done;
  _Alignas(64) _Atomic size_t chunks;
  _Atomic(dejavu_task) task;
  _Atomic(void *) context;
  _Atomic int stopping;
  _Atomic size_t idle_workers, idle_caller;
  pthread_mutex_t mutex;
  pthread_cond_t work_ready, work_done;
  size_t threads, started;
  pthread_t *handles;
  size_t next_index;
};

/// Claims and runs chunks of generation `generation` until none is left.
static void work(dejavu_team *team, uint64_t generation, size_t thread) {
  for (;;) {
    uint64_t ticket = atomic_load(&team->ticket);
    size_t chunks = atomic_load(&team->chunks), chunk = (size_t)(ticket & 0xFFFFFFFF);
    if (ticket >> 32 != generation || chunk >= chunks) return;
    if (!atomic_compare_exchange_weak(&team->ticket, &ticket, ticket + 1)) continue;
    dejavu_task task = atomic_load(&team->task);
    task(atomic_load(&team->context), chunk, thread);
    if (atomic_fetch_add(&team->done, 1) + 1 == chunks && atomic_load(&team->idle_caller)) {
      pthread_mutex_lock(&team->mutex);
      pthread_cond_signal(&team->work_done);
      pthread_mutex_unlock(&team->mutex);
    }
  }
}

/// Waits for a generation other than `seen`; returns it, or `seen` when the team stops.
static uint64_t await_generation(dejavu_team *team, uint64_t seen) {
  for (int spin = 0; spin < SPINS; spin++) {
    uint64_t now = atomic_load(&team->ticket) >> 32;
    if (now != seen) return now;
    RELAX();
  }
  pthread_mutex_lock(&team->mutex);
  atomic_fetch_add(&team->idle_workers, 1);
  uint64_t now = seen;
  while (!atomic_load(&team->stopping)) {
    now = atomic_load(&team->ticket) >> 32;
    if (now != seen) break;
    pthread_cond_wait(&team->work_ready, &team->mutex);
  }
  atomic_fetch_sub(&team->idle_workers, 1);
  pthread_mutex_unlock(&team->mutex);
  return now;
}

static void *worker(void *argument) {
  dejavu_team *team = argument;
  pthread_mutex_lock(&team->mutex);
  size_t thread = ++team->next_index;
  pthread_mutex_unlock(&team->mutex);
  uint64_t seen = 0;
  while (!atomic_load(&team->stopping)) {
    uint64_t generation = await_generation(team, seen);
    if (generation == seen) continue;
    seen = generation;
    work(team, generation, thread);
  }
  return NULL;
}

static void await_done(dejavu_team *team, size_t chunks) {
  for (int spin = 0; spin < SPINS; spin++) {
    if (atomic_load(&team->done) == chunks) return;
    RELAX();
  }
  pthread_mutex_lock(&team->mutex);
  atomic_store(&team->idle_caller, 1);
  while (atomic_load(&team->done) != chunks)
    pthread_cond_wait(&team->work_done, &team->mutex);
  atomic_store(&team->idle_caller, 0);
  pthread_mutex_unlock(&team->mutex);
}

void dejavu_team_run(dejavu_team *team, dejavu_task task, void *context, size_t chunks) {
  if (team->threads == 1 || chunks <= 1) {
    for (size_t chunk = 0; chunk < chunks; chunk++) task(context, chunk, 0);
    return;
  }
  uint64_t last = atomic_load(&team->ticket) >> 32;
  uint64_t generation = last == 0xFFFFFFFF ? 1 : last + 1;
  // Nobody increments a ticket without chunks left, so a plain store loses nothing.
  atomic_store(&team->ticket, last << 32 | CLOSED);
  atomic_store(&team->task, task);
  atomic_store(&team->context, context);
  atomic_store(&team->done, 0);
  atomic_store(&team->chunks, chunks);
  atomic_store(&team->ticket, generation << 32);
  if (atomic_load(&team->idle_workers) > 0) {
    pthread_mutex_lock(&team->mutex);
    pthread_cond_broadcast(&team->work_ready);
    pthread_mutex_unlock(&team->mutex);
  }
  work(team, generation, 0);
  await_done(team, chunks);
}

dejavu_team *dejavu_team_create(size_t threads) {
  if (threads == 0) return NULL;
  void *memory = NULL;
  if (posix_memalign(&memory, 64, sizeof(dejavu_team)) != 0) return NULL;
  dejavu_team *team = memory;
  *team = (dejavu_team){.threads = threads};
  team->handles = calloc(threads, sizeof(pthread_t));
  if (!team->handles) {
    free(team);
    return NULL;
  }
  pthread_mutex_init(&team->mutex, NULL);
  pthread_cond_init(&team->work_ready, NULL);
  pthread_cond_init(&team->work_done, NULL);
  for (; team->started + 1 < threads; team->started++)
    if (pthread_create(&team->handles[team->started], NULL, worker, team) != 0) {
      dejavu_team_destroy(team);
      return NULL;
    }
  return team;
}

void dejavu_team_destroy(dejavu_team *team) {
  pthread_mutex_lock(&team->mutex);
  atomic_store(&team->stopping, 1);
  pthread_cond_broadcast(&team->work_ready);
  pthread_mutex_unlock(&team->mutex);
  for (size_t i = 0; i < team->started; i++) pthread_join(team->handles[i], NULL);
  pthread_cond_destroy(&team->work_ready);
  pthread_cond_destroy(&team->work_done);
  pthread_mutex_destroy(&team->mutex);
  free(team->handles);
  free(team);
}
