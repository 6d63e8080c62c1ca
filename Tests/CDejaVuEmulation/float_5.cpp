#define HEAD_CHUNKS 5
#define CACHE float
#define MODULE float_5
#include "kernels.h"
