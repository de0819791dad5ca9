/* qwen.h - what Qwen2 and Qwen3 share. */
#ifndef HONE_FAMILY_QWEN_H
#define HONE_FAMILY_QWEN_H

#include "model/family/family.h"

/* Windows by layer_types, else by use_sliding_window, sliding_window and max_window_layers. */
hone_status qwen_windows(hone_arch *a, const json_t *c, hone_error *err);

#endif
