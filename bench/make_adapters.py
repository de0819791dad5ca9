#!/usr/bin/env python3
"""Random adapters for measurements: PEFT's two files each, a function of --seed and the number alone.

    make_adapters.py --config MODEL/config.json --out DIR [--count 64] [--rank 16] [--targets all|q_proj,v_proj] [--dtype f32|bf16]

Folders DIR/0000, DIR/0001, ...  Without --config: SmolLM2-135M's shape.  Values are small and never 0, so that an adapter
changes every token a little and none ends in repetition for want of sense."""
import argparse, json, os, random

SMOLLM2 = {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536}
PATH = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "o_proj": "self_attn", "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "mlp"}


def shapes(c):
    d, f = c["hidden_size"], c["intermediate_size"]
    e = c.get("head_dim") or d // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * e, c["num_key_value_heads"] * e
    return {"q_proj": (q, d), "k_proj": (kv, d), "v_proj": (kv, d), "o_proj": (d, q), "gate_proj": (f, d), "up_proj": (f, d), "down_proj": (d, f)}


def numbers(rng, n, dtype):
    """n numbers of either sign between 1/128 and 1/64, as bytes."""
    size = 4 if dtype == "f32" else 2
    keep, exponent = (0x807FFFFF, 0x3C000000) if size == 4 else (0x807F, 0x3C00)
    words = int.from_bytes(rng.randbytes(n * size), "little")
    mask = int.from_bytes(keep.to_bytes(size, "little") * n, "little")
    base = int.from_bytes(exponent.to_bytes(size, "little") * n, "little")
    return ((words & mask) | base).to_bytes(n * size, "little")


def write(folder, config, rank, targets, dtype, seed, alpha=None):
    os.makedirs(folder, exist_ok=True)
    rng, header, data, at = random.Random(seed), {}, [], 0
    for layer in range(config["num_hidden_layers"]):
        for t in targets:
            n, k = shapes(config)[t]
            for which, shape in (("A", (rank, k)), ("B", (n, rank))):
                block = numbers(rng, shape[0] * shape[1], dtype)
                header[f"base_model.model.model.layers.{layer}.{PATH[t]}.{t}.lora_{which}.weight"] = {
                    "dtype": dtype.upper(), "shape": shape, "data_offsets": [at, at + len(block)]}
                data.append(block)
                at += len(block)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(os.path.join(folder, "adapter_model.safetensors"), "wb") as f:
        f.write(len(head).to_bytes(8, "little") + head)
        f.writelines(data)
    with open(os.path.join(folder, "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha or rank, "target_modules": targets}, f)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--config"); p.add_argument("--out", required=True); p.add_argument("--count", type=int, default=64)
    p.add_argument("--rank", type=int, default=16); p.add_argument("--targets", default="all")
    p.add_argument("--dtype", choices=("f32", "bf16"), default="f32"); p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    config = json.load(open(a.config)) if a.config else SMOLLM2
    targets = list(PATH) if a.targets == "all" else a.targets.split(",")
    for i in range(a.count):
        write(os.path.join(a.out, f"{i:04d}"), config, a.rank, targets, a.dtype, a.seed * 100003 + i)


if __name__ == "__main__":
    main()
