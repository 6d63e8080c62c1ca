#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "dejavu_emulation.h"
#include "fibers.h"
#include "registry.h"

using emulation::Dimensions;
using emulation::Entry;
using emulation::Module;

namespace {

enum { shared_bytes = 256 << 10, multiprocessors = 2, capability = 80 };

struct Launch {
  const Entry *entry;
  Dimensions grid;
  unsigned threads;
  std::vector<unsigned char> arguments;
};

typedef std::vector<Launch> Graph;

/// Launches go here while a step is recorded.
struct Stream {
  Graph *captured = nullptr;
};

void run(const Launch &launch) {
  if (!emulation::shared_memory) {
    emulation::shared_memory = (unsigned char *)std::aligned_alloc(64, shared_bytes);
  }
  emulation::grid_dimensions = launch.grid;
  emulation::block_dimensions = {launch.threads, 1, 1};
  for (unsigned z = 0; z < launch.grid.z; z++)
    for (unsigned y = 0; y < launch.grid.y; y++)
      for (unsigned x = 0; x < launch.grid.x; x++) {
        emulation::block_index = {x, y, z};
        std::memset(emulation::shared_memory, 0xff, 64 << 10);
        emulation::run_block(launch.threads, launch.entry->call, launch.arguments.data());
      }
}

int succeed() { return 0; }

int version(int *v) { *v = 13000; return 0; }
int device_count(int *count) { *count = 1; return 0; }
int device(int *ordinal, int) { *ordinal = 0; return 0; }
int device_name(char *name, int size, int) {
  std::strncpy(name, "emulated card", (size_t)size);
  return 0;
}
int device_attribute(int *value, int attribute, int) {
  *value = attribute == dejavu_multiprocessors       ? multiprocessors
           : attribute == dejavu_capability_major ? capability / 10
                                                     : capability % 10;
  return 0;
}
int retain_context(dejavu_handle_out context, int) {
  static int one;
  *context = &one;
  return 0;
}
int memory_info(size_t *free, size_t *total) {
  *free = *total = (size_t)1 << 30;
  return 0;
}
int allocate(dv_address *address, size_t bytes) {
  void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!memory) return 2;
  std::memset(memory, 0xff, bytes);
  *address = (dv_address)memory;
  return 0;
}
int release(dv_address address) {
  std::free((void *)address);
  return 0;
}
int allocate_host(dejavu_handle_out memory, size_t bytes) {
  *memory = std::malloc(bytes);
  return *memory ? 0 : 2;
}
int release_host(dejavu_handle memory) {
  std::free(memory);
  return 0;
}
int copy_in(dv_address to, const void *from, size_t bytes, dejavu_handle) {
  std::memcpy((void *)to, from, bytes);
  return 0;
}
int copy_out(void *to, dv_address from, size_t bytes, dejavu_handle) {
  std::memcpy(to, (const void *)from, bytes);
  return 0;
}
int copy_inside(dv_address to, dv_address from, size_t bytes, dejavu_handle) {
  std::memcpy((void *)to, (const void *)from, bytes);
  return 0;
}
int fill(dv_address to, unsigned char byte, size_t bytes, dejavu_handle) {
  std::memset((void *)to, byte, bytes);
  return 0;
}
int make_stream(dejavu_handle_out stream, unsigned) {
  *stream = new Stream;
  return 0;
}
int release_stream(dejavu_handle stream) {
  delete (Stream *)stream;
  return 0;
}
int make_event(dejavu_handle_out event, unsigned) {
  *event = std::malloc(1);
  return 0;
}
int release_event(dejavu_handle event) {
  std::free(event);
  return 0;
}
int elapsed(float *milliseconds, dejavu_handle, dejavu_handle) {
  *milliseconds = 1;
  return 0;
}
int load_module(dejavu_handle_out module, const void *image) {
  *module = const_cast<void *>(image);
  return 0;
}
int find_function(dejavu_handle_out function, dejavu_handle module, const char *name) {
  const Module *kernels = (const Module *)module;
  for (size_t i = 0; i < kernels->count; i++) {
    if (std::strcmp(kernels->entries[i].name, name) != 0) continue;
    *function = const_cast<Entry *>(&kernels->entries[i]);
    return 0;
  }
  return 500;
}
int launch(const dejavu_launch_config *config, dejavu_handle function, void **arguments, void **) {
  // What a real driver refuses.
  unsigned gx = config->grid_x, gy = config->grid_y, gz = config->grid_z;
  unsigned threads = config->block_x;
  if (!gx || !gy || !gz || gy > 65535 || gz > 65535) return 1;
  if (!threads || threads > 1024 || threads % 32 || config->block_y != 1 || config->block_z != 1 ||
      config->shared_bytes > 227 << 10)
    return 1;
  const Entry *entry = (const Entry *)function;
  Launch made = {entry, {gx, gy, gz}, threads, {}};
  const unsigned char *bytes = (const unsigned char *)arguments[0];
  made.arguments.assign(bytes, bytes + entry->bytes);
  Graph *captured = ((Stream *)config->stream)->captured;
  if (captured) captured->push_back(made);
  else run(made);
  return 0;
}
int begin_capture(dejavu_handle stream, int) {
  ((Stream *)stream)->captured = new Graph;
  return 0;
}
int end_capture(dejavu_handle stream, dejavu_handle_out graph) {
  *graph = ((Stream *)stream)->captured;
  ((Stream *)stream)->captured = nullptr;
  return 0;
}
int count_nodes(dejavu_handle graph, dejavu_handle *, size_t *count) {
  *count = ((Graph *)graph)->size();
  return 0;
}
int instantiate(dejavu_handle_out exec, dejavu_handle graph, unsigned long long) {
  *exec = new Graph(*(Graph *)graph);
  return 0;
}
int launch_graph(dejavu_handle exec, dejavu_handle) {
  for (const Launch &each : *(Graph *)exec) run(each);
  return 0;
}
int release_graph(dejavu_handle graph) {
  delete (Graph *)graph;
  return 0;
}
int describe_error(int, const char **text) {
  *text = "the emulated card refused";
  return 0;
}

}  // namespace

void dejavu_emulated_driver(dejavu_driver *d) {
  d->start = [](unsigned) { return succeed(); };
  d->version = version;
  d->device_count = device_count;
  d->device = device;
  d->device_name = device_name;
  d->device_attribute = device_attribute;
  d->retain_context = retain_context;
  d->release_context = [](int) { return succeed(); };
  d->set_context = [](dejavu_handle) { return succeed(); };
  d->memory_info = memory_info;
  d->allocate = allocate;
  d->release = release;
  d->allocate_host = allocate_host;
  d->release_host = release_host;
  d->copy_in = copy_in;
  d->copy_out = copy_out;
  d->copy_inside = copy_inside;
  d->fill = fill;
  d->make_stream = make_stream;
  d->release_stream = release_stream;
  d->wait_stream = [](dejavu_handle) { return succeed(); };
  d->make_event = make_event;
  d->release_event = release_event;
  d->record_event = [](dejavu_handle, dejavu_handle) { return succeed(); };
  d->wait_event = [](dejavu_handle) { return succeed(); };
  d->elapsed = elapsed;
  d->load_module = load_module;
  d->unload_module = [](dejavu_handle) { return succeed(); };
  d->find_function = find_function;
  d->set_function = [](dejavu_handle, int, int) { return succeed(); };
  d->launch = launch;
  d->begin_capture = begin_capture;
  d->end_capture = end_capture;
  d->count_nodes = count_nodes;
  d->instantiate = instantiate;
  d->launch_graph = launch_graph;
  d->release_graph_exec = release_graph;
  d->release_graph = release_graph;
  d->describe_error = describe_error;
}

const void *dejavu_emulated_module(int cache_bytes, int chunks, int group, int zeros) {
  using namespace emulation;
  const struct {
    const Module *module;
    int cache_bytes, chunks;
  } all[] = {{&float_1, 4, 1}, {&float_5, 4, 5}, {&half_1, 2, 1}, {&half_3, 2, 3},
             {&half_1_zeros, 2, 1}};
  for (const auto &each : all)
    if (each.cache_bytes == cache_bytes && each.chunks == chunks &&
        (group == 0 || (each.module->group == group && each.module->zeros == zeros)))
      return each.module;
  return nullptr;
}
