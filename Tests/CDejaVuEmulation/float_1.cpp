#define HEAD_CHUNKS 1
#define CACHE float
#define MODULE float_1
#include "kernels.h"
