// Launches are compared byte by byte (decision 21): bytes that no field names could differ from step to step, and
// a step that was expected would never be the one that comes.
#if defined(__clang__)
#pragma clang diagnostic error "-Wpadded"
#endif
#include "dejavu_cuda_prompts.h"
#include "dejavu_cuda_training.h"

#define IS_WHOLE(name) _Static_assert(sizeof(name) % 4 == 0, #name)
IS_WHOLE(dv_norm);
IS_WHOLE(dv_choice);
IS_WHOLE(dv_score_job);
IS_WHOLE(dv_score_arguments);
IS_WHOLE(dv_list_job);
IS_WHOLE(dv_embed_arguments);
IS_WHOLE(dv_normalize_arguments);
IS_WHOLE(dv_add_arguments);
IS_WHOLE(dv_prepare_job);
IS_WHOLE(dv_prepare_arguments);
IS_WHOLE(dv_renew_arguments);
IS_WHOLE(dv_project_arguments);
IS_WHOLE(dv_attend_arguments);
IS_WHOLE(dv_context_arguments);
IS_WHOLE(dv_output_arguments);
IS_WHOLE(dv_up_arguments);
IS_WHOLE(dv_down_arguments);
IS_WHOLE(dv_rows_arguments);
IS_WHOLE(dv_token_rule);
IS_WHOLE(dv_token_arguments);
IS_WHOLE(dv_product_arguments);
IS_WHOLE(dv_narrow_arguments);
IS_WHOLE(dv_decode_arguments);
IS_WHOLE(dv_look_arguments);
IS_WHOLE(dv_store_arguments);
IS_WHOLE(dv_prompt_arguments);
IS_WHOLE(dv_mask_arguments);
IS_WHOLE(dv_activate_arguments);
IS_WHOLE(dv_select_arguments);
IS_WHOLE(dv_neuron_size_arguments);
IS_WHOLE(dv_group_size_arguments);
IS_WHOLE(dv_assign_arguments);
IS_WHOLE(dv_clip_arguments);
IS_WHOLE(dv_fork_arguments);
IS_WHOLE(dv_clear_arguments);
IS_WHOLE(dv_read_arguments);
IS_WHOLE(dv_fill_arguments);
IS_WHOLE(dv_fill_codes_arguments);
IS_WHOLE(dv_count_arguments);
IS_WHOLE(dv_loss_arguments);
IS_WHOLE(dv_sum_arguments);
IS_WHOLE(dv_transpose_arguments);
IS_WHOLE(dv_adam_arguments);
