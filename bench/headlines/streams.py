"""32 streams, 128 in, 128 out: aggregate decoding against llama.cpp on the same file and in its best format."""
from .common import row


def measure(b):
    def hone(kind):
        return lambda: next(l["tok_s"] for l in b.lines(b.tool("engine/engine_bench"), "--model", b.model(kind), "--batches", "32", "--pp", "16", "--repeats", "2") if "B=32" in l.get("test", ""))

    def llama(kind):
        return lambda: next(l["tok_s"] for l in b.lines(b.python, b.script("bench_llamacpp.py"), "--model", b.model(kind), "--batches", "32", "--pp", "16", "--repeats", "1") if l.get("test") == "batched B=32 decode")

    r = b.turns(hone=hone("q4_1"), same=llama("q4_1"), q4_0=llama("q4_0"), bf16=llama("bf16"))
    best = max(("q4_0", "bf16"), key=lambda k: sum(r[k]))
    yield row("32 streams, Q4_1, tok/s: llama.cpp, same file", r["hone"], r["same"], floor=4)
    yield row(f"  its best format ({best})", r["hone"], r[best], floor=2)
