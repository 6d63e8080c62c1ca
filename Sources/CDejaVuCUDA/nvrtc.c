#include "dejavu_nvrtc.h"

#include <dlfcn.h>
#include <string.h>

static int fill(void *library, dejavu_nvrtc *functions) {
  static const char *const names[] = {
      "nvrtcVersion",       "nvrtcCreateProgram", "nvrtcCompileProgram", "nvrtcGetProgramLogSize",
      "nvrtcGetProgramLog", "nvrtcGetCUBINSize",  "nvrtcGetCUBIN",       "nvrtcDestroyProgram",
  };
  enum { count = sizeof names / sizeof *names };
  void *symbols[count];
  _Static_assert(sizeof symbols == sizeof *functions, "a name for every function");
  for (size_t i = 0; i < count; i++) {
    symbols[i] = dlsym(library, names[i]);
    if (!symbols[i]) return 0;
  }
  memcpy(functions, symbols, sizeof symbols);
  return 1;
}

int dejavu_nvrtc_load(const char *path, dejavu_nvrtc *functions) {
  static const char *const usual[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
  const char *const given[] = {path};
  const char *const *names = path ? given : usual;
  size_t count = path ? 1 : sizeof usual / sizeof *usual;
  for (size_t i = 0; i < count; i++) {
    void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (library && fill(library, functions)) return 1;
  }
  return 0;
}
