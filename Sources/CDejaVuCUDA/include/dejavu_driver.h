// NVIDIA's driver, found when it is needed: our own declarations, no CUDA header.
#pragma once
#include <stddef.h>

#include "dejavu_cuda_arguments.h"

#if defined(__clang__)
#pragma clang assume_nonnull begin
#endif

/// A context, stream, event, module, function or graph of the driver.
typedef void *dejavu_handle;
typedef dejavu_handle _Nullable *dejavu_handle_out;

/// The attributes of a card that are asked for, by the driver's numbers.
enum dejavu_device_attribute {
  dejavu_multiprocessors = 16,
  dejavu_capability_major = 75,
  dejavu_capability_minor = 76,
};
enum {
  dejavu_greatest_dynamic_shared = 8,
  dejavu_shared_carveout = 9,
  dejavu_relaxed_capture = 2,
  dejavu_overlapping_launch = 6
};

/// One attribute of a launch, as the driver wants it.
typedef struct {
  int id;
  char padding[4];
  int value;
  char rest[60];
} dejavu_launch_attribute;

/// A launch, as the driver wants it.
typedef struct {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  dejavu_handle _Nullable stream;
  const dejavu_launch_attribute *_Nullable attributes;
  unsigned count;
} dejavu_launch_config;

/// The driver's functions; every one returns 0 when it succeeded.
typedef struct {
  int (*_Nullable start)(unsigned flags);
  int (*_Nullable version)(int *version);
  int (*_Nullable device_count)(int *count);
  int (*_Nullable device)(int *device, int index);
  int (*_Nullable device_name)(char *name, int size, int device);
  int (*_Nullable device_attribute)(int *value, int attribute, int device);
  int (*_Nullable retain_context)(dejavu_handle_out _Nonnull context, int device);
  int (*_Nullable release_context)(int device);
  int (*_Nullable set_context)(dejavu_handle _Nullable context);
  int (*_Nullable memory_info)(size_t *free, size_t *total);
  int (*_Nullable allocate)(dv_address *address, size_t bytes);
  int (*_Nullable release)(dv_address address);
  int (*_Nullable allocate_host)(dejavu_handle_out _Nonnull memory, size_t bytes);
  int (*_Nullable release_host)(dejavu_handle memory);
  int (*_Nullable copy_in)(dv_address to, const void *from, size_t bytes, dejavu_handle _Nullable s);
  int (*_Nullable copy_out)(void *to, dv_address from, size_t bytes, dejavu_handle _Nullable s);
  int (*_Nullable copy_inside)(dv_address to, dv_address from, size_t bytes,
                               dejavu_handle _Nullable s);
  int (*_Nullable fill)(dv_address to, unsigned char byte, size_t bytes, dejavu_handle _Nullable s);
  int (*_Nullable make_stream)(dejavu_handle_out _Nonnull stream, unsigned flags);
  int (*_Nullable release_stream)(dejavu_handle stream);
  int (*_Nullable wait_stream)(dejavu_handle _Nullable stream);
  int (*_Nullable make_event)(dejavu_handle_out _Nonnull event, unsigned flags);
  int (*_Nullable release_event)(dejavu_handle event);
  int (*_Nullable record_event)(dejavu_handle event, dejavu_handle _Nullable stream);
  int (*_Nullable wait_event)(dejavu_handle event);
  int (*_Nullable elapsed)(float *milliseconds, dejavu_handle first, dejavu_handle last);
  int (*_Nullable load_module)(dejavu_handle_out _Nonnull module, const void *image);
  int (*_Nullable unload_module)(dejavu_handle module);
  int (*_Nullable find_function)(dejavu_handle_out _Nonnull function, dejavu_handle module,
                                 const char *name);
  int (*_Nullable set_function)(dejavu_handle function, int attribute, int value);
  int (*_Nullable launch)(const dejavu_launch_config *config, dejavu_handle function,
                          void *_Nullable *_Nullable arguments, void *_Nullable *_Nullable extra);
  int (*_Nullable begin_capture)(dejavu_handle stream, int mode);
  int (*_Nullable end_capture)(dejavu_handle stream, dejavu_handle_out _Nonnull graph);
  int (*_Nullable count_nodes)(dejavu_handle graph, dejavu_handle _Nullable *_Nullable nodes,
                               size_t *count);
  int (*_Nullable instantiate)(dejavu_handle_out _Nonnull graph_exec, dejavu_handle graph,
                               unsigned long long flags);
  int (*_Nullable launch_graph)(dejavu_handle graph_exec, dejavu_handle _Nullable stream);
  int (*_Nullable release_graph_exec)(dejavu_handle graph_exec);
  int (*_Nullable release_graph)(dejavu_handle graph);
  int (*_Nullable describe_error)(int error, const char *_Nullable *_Nonnull text);
} dejavu_driver;

/// Looks for the driver, at `path` or under its usual name.
///
/// Returns null and fills in every function, or says what is missing: the library's file or the
/// first function that it lacks.
const char *_Nullable dejavu_driver_load(const char *_Nullable path, dejavu_driver *functions);

#if defined(__clang__)
#pragma clang assume_nonnull end
#endif
