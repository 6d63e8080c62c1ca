#define HEAD_CHUNKS 1
#define CACHE float
#define CODE_GROUP 128
#define CODE_ZEROS 0
#define MODULE float_1
#include "kernels.h"
