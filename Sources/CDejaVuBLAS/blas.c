#include "dejavu_blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

typedef void (*sgemm_function)(int order, int transposes_a, int transposes_b, int m, int n, int k,
                               float alpha, const float *a, int lda, const float *b, int ldb,
                               float beta, float *c, int ldc);
typedef void (*threads_function)(int threads);

static sgemm_function found_sgemm;
static threads_function found_threads;
static const char *found_name;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find(void) {
  static const char *const names[] = {
      "libopenblas.so.0",
      "libopenblas.so",
      "/System/Library/Frameworks/Accelerate.framework/Accelerate",
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library) continue;
    found_sgemm = (sgemm_function)dlsym(library, "cblas_sgemm");
    if (!found_sgemm) continue;
    found_threads = (threads_function)dlsym(library, "openblas_set_num_threads");
    found_name = names[i];
    return;
  }
}

const char *dejavu_blas_load(void) {
  pthread_once(&once, find);
  return found_name;
}

void dejavu_blas_set_threads(int32_t threads) {
  if (found_threads) found_threads(threads);
}

void dejavu_blas_sgemm(const dejavu_sgemm_job *job) {
  enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
  found_sgemm(ROW_MAJOR, job->transposes_a ? TRANSPOSED : PLAIN,
              job->transposes_b ? TRANSPOSED : PLAIN, job->m, job->n, job->k, job->alpha, job->a,
              job->lda, job->b, job->ldb, job->beta, job->c, job->ldc);
}
