#define HEAD_CHUNKS 1
#define CACHE f16
#define MODULE half_1
#include "kernels.h"
