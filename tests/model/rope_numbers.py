#!/usr/bin/env python3
"""Rotary frequencies by the transformers library, as rows for test_arch.c:  python3 rope_numbers.py > rope_numbers.inc

Needs transformers 5 and torch.  16 rotated dimensions, 64 positions at most unless said otherwise."""
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CASES = [
    ("linear", dict(factor=4.0), 1, ".scaling = HONE_ROPE_LINEAR, .factor = 4"),
    ("llama3", dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32), 1,
     ".scaling = HONE_ROPE_LLAMA3, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original_length = 32"),
    ("yarn", dict(factor=4.0, original_max_position_embeddings=16), 1,
     ".scaling = HONE_ROPE_YARN, .factor = 4, .original_length = 16, .beta_fast = 32, .beta_slow = 1"),
    ("yarn", dict(factor=8.0, original_max_position_embeddings=64, attention_factor=1.25, beta_fast=2.0, beta_slow=0.25), 1,
     ".scaling = HONE_ROPE_YARN, .factor = 8, .original_length = 64, .attention_factor = 1.25, .beta_fast = 2, .beta_slow = 0.25"),
    ("yarn", dict(factor=8.0, original_max_position_embeddings=64, mscale=0.7, mscale_all_dim=1.2, truncate=False), 1,
     ".scaling = HONE_ROPE_YARN, .factor = 8, .original_length = 64, .beta_fast = 32, .beta_slow = 1, .mscale = 0.7, "
     ".mscale_all_dim = 1.2, .yarn_no_truncate = true"),
    ("dynamic", dict(factor=2.0), 64, ".scaling = HONE_ROPE_DYNAMIC, .factor = 2, .original_length = 64"),
    ("dynamic", dict(factor=2.0), 200, ".scaling = HONE_ROPE_DYNAMIC, .factor = 2, .original_length = 64"),
    ("longrope", dict(factor=4.0, original_max_position_embeddings=16, short_factor=[1 + i / 8 for i in range(8)],
                      long_factor=[2 + i / 2 for i in range(8)]), 16, "LONG"),
    ("longrope", dict(factor=4.0, original_max_position_embeddings=16, short_factor=[1 + i / 8 for i in range(8)],
                      long_factor=[2 + i / 2 for i in range(8)]), 17, "LONG"),
]
LONG = (".scaling = HONE_ROPE_LONGROPE, .factor = 4, .original_length = 16, .divided = {true, true}, .divisor = {{1, 1.125f, "
        "1.25f, 1.375f, 1.5f, 1.625f, 1.75f, 1.875f}, {2, 2.5f, 3, 3.5f, 4, 4.5f, 5, 5.5f}}")

for kind, parameters, length, fields in CASES:
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=64,
                         rope_parameters=dict(rope_type=kind, rope_theta=10000.0, **parameters))
    freq, factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=length)
    numbers = ", ".join(f"{freq[i].item():.9e}f" for i in (0, 3, 5, 7))
    print(f'{{"{kind}", {{.theta = 10000, .rot = 16, {LONG if fields == "LONG" else fields}}}, {length}, '
          f'{{{numbers}}}, {float(factor):.9e}f}},')
