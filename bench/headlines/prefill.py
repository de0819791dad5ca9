"""Prefill of 512 tokens: against llama.cpp on the same file, against the fastest peer in any format, against the machine."""
from .common import row

LAYER_PARAMETERS = 106_170_000  # of SmolLM2-135M without its embedding: what is multiplied for each token


def measure(b):
    def hone(kind):
        return lambda: next(l["tok_s"] for l in b.lines(b.tool("engine/engine_bench"), "--model", b.model(kind), "--tg", "1", "--batches", "", "--repeats", "3") if l.get("test") == "pp512")

    def llama(kind):
        return lambda: next(l["tok_s"] for l in b.lines(b.python, b.script("bench_llamacpp.py"), "--model", b.model(kind), "--tg", "1", "--batches", "1", "--repeats", "2") if l.get("test") == "pp512")

    def torch():
        return max((l.get("prefill_tok_s") or l.get("tok_s") or 0) for l in b.lines(b.python, b.script("bench_torch.py"), "--gguf", b.model("bf16"), "--dtype", "bf16", "--batches", "1", "--new", "2", "--repeats", "2"))

    r = b.turns(hone=hone("q4_1"), same=llama("q4_1"), bf16=llama("bf16"), q4_0=llama("q4_0"), torch=torch)
    best = max(("bf16", "q4_0", "torch"), key=lambda k: sum(r[k]))
    yield row("prefill 512, Q4_1, tok/s: llama.cpp, same file", r["hone"], r["same"], floor=3)
    yield row(f"  the fastest peer of any format ({best})", r["hone"], r[best], floor=1.3)
    l = b.limits()
    share = [2 * LAYER_PARAMETERS * t / (l["vnni_int8_TOPs_2t"] * 1e12) for t in r["hone"]]
    yield row("  share of the measured int8 peak", share, floor=0.35)
