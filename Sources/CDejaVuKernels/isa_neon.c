#include "tables.h"

#if defined(__aarch64__)
#include <math.h>
#include <string.h>

#include "isa/vector_neon.h"
#include "isa/codes_neon.h"
#define HAS_CODES 1
#include "kernels/instantiate.h"

const dejavu_kernels dejavu_table_neon = KERNEL_TABLE(DEJAVU_NEON, "NEON");
#endif
