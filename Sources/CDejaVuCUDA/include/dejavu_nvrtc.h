// NVIDIA's run-time compiler, found when it is needed: our own declarations, no CUDA header.
#pragma once
#include <stddef.h>

#include "dejavu_cuda_arguments.h"

#if defined(__clang__)
#pragma clang assume_nonnull begin
#endif

/// Text of all kernels, one translation unit for NVRTC, ended by a zero.
const char *dejavu_cuda_source(void);

typedef struct dejavu_nvrtc_program *dejavu_nvrtc_program;

/// The compiler's functions; every one returns 0 when it succeeded.
typedef struct {
  int (*_Nullable version)(int *major, int *minor);
  int (*_Nullable create)(dejavu_nvrtc_program _Nullable *_Nonnull program, const char *source,
                          const char *_Nullable name, int headers,
                          const char *const _Nullable *_Nullable texts,
                          const char *const _Nullable *_Nullable names);
  int (*_Nullable compile)(dejavu_nvrtc_program program, int count,
                           const char *const _Nullable *_Nonnull options);
  int (*_Nullable log_size)(dejavu_nvrtc_program program, size_t *size);
  int (*_Nullable log)(dejavu_nvrtc_program program, char *text);
  int (*_Nullable cubin_size)(dejavu_nvrtc_program program, size_t *size);
  int (*_Nullable cubin)(dejavu_nvrtc_program program, char *bytes);
  int (*_Nullable destroy)(dejavu_nvrtc_program _Nullable *_Nonnull program);
} dejavu_nvrtc;

/// Looks for the compiler, at `path` or under its usual names.
///
/// Returns 1 and fills in every function, or 0 where it is missing or lacks one of them.
int dejavu_nvrtc_load(const char *_Nullable path, dejavu_nvrtc *functions);

#if defined(__clang__)
#pragma clang assume_nonnull end
#endif
