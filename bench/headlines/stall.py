"""8 running streams while a long prompt is read: p99 between tokens beside its idle value; a newcomer's first token."""
import json, threading, time, urllib.request

from .common import row
from .turn import WORDS


def stream(server, model, prompt, tokens, gaps, first=None):
    body = json.dumps(dict(model=model, messages=[{"role": "user", "content": prompt}], stream=True, max_tokens=tokens, temperature=0, ignore_eos=True, speculative=False)).encode()
    t0 = last = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(server.url + "/v1/chat/completions", body, {"Content-Type": "application/json"}), timeout=900) as r:
        for line in r:
            if b'"content":"' in line and b'"content":""' not in line:
                now = time.perf_counter()
                if last != t0:
                    gaps.append((now, now - last))
                elif first is not None:
                    first.append(now)
                last = now
    return last


def p99(xs):
    return sorted(xs)[min(len(xs) - 1, int(0.99 * len(xs)))]


def measure(b):
    s, model = b.serve(model=b.model("q4_1")), "m"
    ratios, waits = [], []
    for i in range(b.rounds):
        gaps, newcomer, giant = [], [], []
        threads = [threading.Thread(target=stream, args=(s, model, f"{i}.{n} Write about warehouses.", 1500, gaps)) for n in range(8)]
        for t in threads: t.start()
        time.sleep(2.5)
        began = time.perf_counter()
        text = " ".join(f"{i}.{n}" if n % 9 == 0 else WORDS[n % len(WORDS)] for n in range(4300))
        big = threading.Thread(target=stream, args=(s, model, text, 2, [], giant))
        big.start()
        time.sleep(0.5)
        small = threading.Thread(target=stream, args=(s, model, f"{i} Hello", 2, [], newcomer))
        sent = time.perf_counter()
        small.start()
        for t in threads + [big, small]: t.join()
        idle = [g for at, g in gaps if began - 1.5 < at < began]
        busy = [g for at, g in gaps if began < at < giant[0]]
        ratios.append(p99(busy) / p99(idle))
        waits.append((newcomer[0] - sent) / (giant[0] - sent))
    yield row("p99 between tokens while a long prompt is read / idle", ratios, floor=2, less_is_better=True)
    yield row("a newcomer's first token, share of the long prompt's wait", waits, floor=1, less_is_better=True)
