#include "dejavu_kernels.h"
#include "isa/vector_scalar.h"
#include "kernels/instantiate.h"
#include "tables.h"

const dejavu_kernels dejavu_table_scalar = KERNEL_TABLE(DEJAVU_SCALAR, "scalar");
