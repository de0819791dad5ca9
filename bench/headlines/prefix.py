"""One system prompt of 600 tokens shared by 8 clients: requests/s, and the first wave's time to first token."""
from .common import row


def measure(b):
    load = dict(concurrency=8, requests=64, system_tokens=600, prompt_tokens=50, output_tokens=32)
    wave = dict(load, requests=8, first=100000)

    def one(start, model, mode):
        s = start()
        try:
            first = b.load(s, model, mode=mode, **wave)  # on a server that has seen nothing
            return b.load(s, model, mode=mode, **load), first
        finally:
            s.stop()

    def hone():
        return one(lambda: b.serve(model=b.model("q4_1")), "m", "hone")

    def llama(kind):
        return lambda: one(lambda: b.llama_server(b.model(kind), "-np", "8", "-c", "16384"), "m", "llama")

    r = b.turns(hone=hone, q4_0=llama("q4_0"), bf16=llama("bf16"))
    rate = lambda k: [x[0]["req_s"] for x in r[k]]
    best = max(("q4_0", "bf16"), key=lambda k: sum(rate(k)))
    first = lambda k: [x[1]["ttft_ms"]["p99"] for x in r[k]]
    yield row(f"600-token system prompt, 8 clients, requests/s: llama-server ({best})", rate("hone"), rate(best), floor=2)
    yield row("  first wave, p99 time to first token, ms", first("hone"), first(best), floor=0.3, less_is_better=True)
