"""The second turn on a long prefix: its time to first token beside the cold one's."""
import json, time, urllib.request

from .common import row

WORDS = "plan the weekly schedule of the warehouse and check invoices against orders for every site ".split()


def first_token(server, model, messages):
    body = json.dumps(dict(model=model, messages=messages, stream=True, max_tokens=8, temperature=0)).encode()
    t0 = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(server.url + "/v1/chat/completions", body, {"Content-Type": "application/json"}), timeout=600) as r:
        for line in r:
            if b'"content":"' in line and b'"content":""' not in line:
                took = time.perf_counter() - t0
                r.read()
                return took


def measure(b):
    s = b.serve(model=b.model("q4_1"))
    cold, warm = [], []
    for i in range(b.rounds):
        text = " ".join(f"{i}.{n}" if n % 9 == 0 else WORDS[n % len(WORDS)] for n in range(4300))  # about 7,700 tokens
        messages = [{"role": "user", "content": text + " Summarise."}]
        cold.append(first_token(s, "m", messages))
        warm.append(first_token(s, "m", messages + [{"role": "assistant", "content": "A plan."}, {"role": "user", "content": "Shorter."}]))
    yield row("second turn on a long prefix, s to first token: the cold turn", warm, cold, floor=0.05, less_is_better=True)
