#include "dejavu_nvrtc.h"

// Kernels are part of the program, so that it needs no file beside itself.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const char text[] = {
#embed "include/dejavu_cuda_arguments.h"
    ,
#embed "include/dejavu_cuda_prompts.h"
    ,
#embed "include/dejavu_cuda_training.h"
    ,
#embed "kernels/common.cuh"
    ,
#embed "kernels/score.cu"
    ,
#embed "kernels/groupwise.cuh"
    ,
#embed "kernels/stream.cu"
    ,
#embed "kernels/debts.cuh"
    ,
#embed "kernels/project_tiles.cu"
    ,
#embed "kernels/groupwise_tiles.cuh"
    ,
#embed "kernels/project.cu"
    ,
#embed "kernels/attention.cu"
    ,
#embed "kernels/gather.cu"
    ,
#embed "kernels/groupwise_factors.cuh"
    ,
#embed "kernels/groupwise_sums.cu"
    ,
#embed "kernels/groupwise_rows.cu"
    ,
#embed "kernels/choose.cu"
    ,
#embed "kernels/renew.cu"
    ,
#embed "kernels/sample.cu"
    ,
#embed "kernels/operands.cu"
    ,
#embed "kernels/prompt_tiles.cu"
    ,
#embed "kernels/prompt.cu"
    ,
#embed "kernels/train.cu"
    , 0};

const char *dejavu_cuda_source(void) { return text; }
