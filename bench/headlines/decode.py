"""One stream: Q4_1 against llama.cpp on the same file and its best 4-bit format, Q8_0 against Q8_0."""
from .common import row


def measure(b):
    def hone(kind):
        return lambda: next(l["tok_s"] for l in b.lines(b.tool("engine/engine_bench"), "--model", b.model(kind), "--batches", "1", "--pp", "16", "--repeats", "3") if l.get("test", "").startswith("tg"))

    def llama(kind):
        return lambda: next(l["tok_s"] for l in b.lines(b.python, b.script("bench_llamacpp.py"), "--model", b.model(kind), "--batches", "1", "--pp", "16", "--repeats", "3") if l.get("test", "").startswith("tg"))

    r = b.turns(hone=hone("q4_1"), same=llama("q4_1"), q4_0=llama("q4_0"), hone8=hone("q8_0"), llama8=llama("q8_0"))
    yield row("one stream, Q4_1, tok/s: llama.cpp, same file", r["hone"], r["same"], floor=1.5)
    yield row("  its best 4-bit format (Q4_0)", r["hone"], r["q4_0"], floor=1.1)
    yield row("one stream, Q8_0, tok/s: llama.cpp, same file", r["hone8"], r["llama8"], floor=1.2)
