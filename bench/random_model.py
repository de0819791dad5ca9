#!/usr/bin/env python3
"""Write a GGUF file of random Q4_1 weights in the shape of a larger model, for speeds that must come from memory.

    random_model.py --like SMALL.gguf --out BIG.gguf [--width 2048 --layers 16 --heads 32 --kv-heads 8 --mlp 8192]

The defaults are the shape of a model of 1.07e9 parameters.  --like is any llama-family GGUF: its tokenizer is taken over,
so that other programs open the file too.  Only Python's own library is needed; the file is the same every time.
"""
import argparse
import random
import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # GGUF value types of fixed size
TEXT, ARRAY, U32 = 8, 9, 4
F32, Q4_1 = 0, 3  # tensor types
ALIGNMENT = 32


def value_end(b, at, kind):
    """Where a value of this type that begins at `at` ends."""
    if kind in SIZES:
        return at + SIZES[kind]
    if kind == TEXT:
        return at + 8 + struct.unpack_from("<Q", b, at)[0]
    inner, n = struct.unpack_from("<IQ", b, at)
    at += 12
    if inner in SIZES:
        return at + n * SIZES[inner]
    for _ in range(n):
        at = value_end(b, at, inner)
    return at


def read_values(path):
    """The metadata as {key: (type, raw bytes)}."""
    with open(path, "rb") as f:
        b = f.read(64 << 20)
    magic, version, _, n = struct.unpack_from("<4sIQQ", b, 0)
    if magic != b"GGUF" or version < 2:
        raise SystemExit(f"{path}: no GGUF file of version 2 or later")
    at, values = 24, {}
    for _ in range(n):
        end = value_end(b, at, TEXT)
        key = b[at + 8 : end].decode()
        (kind,) = struct.unpack_from("<I", b, end)
        stop = value_end(b, end + 4, kind)
        values[key] = (kind, b[end + 4 : stop])
        at = stop
    return values


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--like", required=True)
    p.add_argument("--out", required=True)
    for name, default in (("width", 2048), ("layers", 16), ("heads", 32), ("kv-heads", 8), ("mlp", 8192)):
        p.add_argument(f"--{name}", type=int, default=default)
    o = p.parse_args()
    values = read_values(o.like)
    if values.get("general.architecture") != (TEXT, text("llama")):
        raise SystemExit(f"{o.like}: not of the llama family")
    vocab = struct.unpack_from("<IQ", values["tokenizer.ggml.tokens"][1])[1]
    kv = o.width // o.heads * o.kv_heads
    for key, number in (
        ("embedding_length", o.width),
        ("block_count", o.layers),
        ("feed_forward_length", o.mlp),
        ("attention.head_count", o.heads),
        ("attention.head_count_kv", o.kv_heads),
        ("rope.dimension_count", o.width // o.heads),
        ("vocab_size", vocab),
    ):
        values["llama." + key] = (U32, struct.pack("<I", number))
    for key in ("llama.attention.key_length", "llama.attention.value_length"):
        values.pop(key, None)
    tensors = [("token_embd.weight", (o.width, vocab)), ("output_norm.weight", (o.width,))]
    for layer in range(o.layers):
        for name, shape in (
            ("attn_norm", (o.width,)),
            ("attn_q", (o.width, o.width)),
            ("attn_k", (o.width, kv)),
            ("attn_v", (o.width, kv)),
            ("attn_output", (o.width, o.width)),
            ("ffn_norm", (o.width,)),
            ("ffn_gate", (o.width, o.mlp)),
            ("ffn_up", (o.width, o.mlp)),
            ("ffn_down", (o.mlp, o.width)),
        ):
            tensors.append((f"blk.{layer}.{name}.weight", shape))
    chance = random.Random(1)
    step = 0.02 / 4.6  # uniform 4-bit integers deviate by 4.6 steps
    scale = struct.pack("<ee", step, -7.5 * step)
    pattern = b"".join(scale + chance.randbytes(16) for _ in range(65521))  # a prime number of blocks: rows differ
    with open(o.out, "wb") as f:
        f.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(values)))
        for key, (kind, raw) in values.items():
            f.write(text(key) + struct.pack("<I", kind) + raw)
        offset, sizes = 0, []
        for name, shape in tensors:
            n = shape[0] * (shape[1] if len(shape) > 1 else 1)
            size = n * 4 if len(shape) == 1 else n // 32 * 20
            f.write(text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape))
            f.write(struct.pack("<IQ", F32 if len(shape) == 1 else Q4_1, offset))
            sizes.append(size)
            offset += -(-size // ALIGNMENT) * ALIGNMENT
        f.write(bytes(-f.tell() % ALIGNMENT))
        for (_, shape), size in zip(tensors, sizes):
            if len(shape) == 1:
                f.write(struct.pack("<f", 1.0) * shape[0])
            else:
                whole, rest = divmod(size, len(pattern))
                for _ in range(whole):
                    f.write(pattern)
                f.write(pattern[:rest])
            f.write(bytes(-size % ALIGNMENT))


if __name__ == "__main__":
    main()
