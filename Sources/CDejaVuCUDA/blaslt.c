#include "dejavu_blaslt.h"

#include <dlfcn.h>
#include <string.h>

// In the order of the structure.
static const char *const names[] = {
    "cublasLtGetVersion",
    "cublasLtCreate",
    "cublasLtDestroy",
    "cublasLtMatmulDescCreate",
    "cublasLtMatmulDescDestroy",
    "cublasLtMatmulDescSetAttribute",
    "cublasLtMatrixLayoutCreate",
    "cublasLtMatrixLayoutDestroy",
    "cublasLtMatmulPreferenceCreate",
    "cublasLtMatmulPreferenceDestroy",
    "cublasLtMatmulPreferenceSetAttribute",
    "cublasLtMatmulAlgoGetHeuristic",
    "cublasLtMatmul",
};
enum { count = sizeof names / sizeof *names };

int dejavu_blaslt_load(const char *path, dejavu_blaslt *functions) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return 0;
  void *symbols[count];
  _Static_assert(sizeof symbols == sizeof *functions, "a name for every function");
  _Static_assert(sizeof(dejavu_blaslt_proposal) == 96, "as large as the library's own");
  for (size_t i = 0; i < count; i++) {
    symbols[i] = dlsym(library, names[i]);
    if (!symbols[i]) return 0;
  }
  memcpy(functions, symbols, sizeof symbols);
  return 1;
}
