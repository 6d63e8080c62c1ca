#define HEAD_CHUNKS 1
#define CACHE f16
#define CODE_GROUP 32
#define CODE_ZEROS 1
#define MODULE half_1_zeros
#include "kernels.h"
