"""32 clients on /v1/chat/completions, 200 tokens in, 64 out: against llama-server in its best format."""
from .common import row


def measure(b):
    load = dict(concurrency=32, requests=96, prompt_tokens=200, output_tokens=64)

    def hone():
        s = b.serve("--max-sequences", "32", model=b.model("q4_1"))
        try:
            return b.load(s, "m", **load)
        finally:
            s.stop()

    def llama(kind):
        def run():
            s = b.llama_server(b.model(kind), "-np", "32", "-c", "16384")
            try:
                return b.load(s, "m", mode="llama", **load)
            finally:
                s.stop()
        return run

    b.rounds, rounds = min(b.rounds, 2), b.rounds  # a round takes minutes
    r = b.turns(hone=hone, q4_0=llama("q4_0"), bf16=llama("bf16"))
    b.rounds = rounds
    rate = lambda k: [x["req_s"] for x in r[k]]
    best = max(("q4_0", "bf16"), key=lambda k: sum(rate(k)))
    at = lambda k, what: [x[what]["p99"] for x in r[k]]
    yield row(f"32 chat clients, requests/s: llama-server, best format ({best})", rate("hone"), rate(best), floor=2)
    yield row("  p99 time to first token, ms", at("hone", "ttft_ms"), at(best, "ttft_ms"), floor=0.3, less_is_better=True)
    yield row("  p99 between tokens, ms", at("hone", "itl_ms"), at(best, "itl_ms"), floor=0.1, less_is_better=True)
