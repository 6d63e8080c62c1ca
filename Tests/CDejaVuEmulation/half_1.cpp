#define HEAD_CHUNKS 1
#define CACHE f16
#define CODE_GROUP 64
#define CODE_ZEROS 0
#define MODULE half_1
#include "kernels.h"
