#define HEAD_CHUNKS 3
#define CACHE f16
#define MODULE half_3
#include "kernels.h"
