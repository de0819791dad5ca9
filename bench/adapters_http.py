#!/usr/bin/env python3
"""What adapters cost through the API: standard library only.

    adapters_http.py zipf  --port P --base NAME --prefix z --count 500 [--clients 16] [--requests 48] [--rounds 2]
        the same requests to the base alone and to adapters drawn by Zipf's law (exponent 1), in turns: requests/s and the ratio
    adapters_http.py first --port P --base NAME --prefix z --count 500 --from 300 [--n 20] [--drop HOME]
        one token from adapters that were never used, one from the base, in turns: added milliseconds.  --drop: their files leave the page
        cache first (posix_fadvise), so that the disk is asked
Adapters are NAME000 ... as `hone pull DIR --base BASE --as NAME000` registered them."""
import argparse, bisect, http.client, json, os, random, statistics, threading, time


def ask(connection, model, seed, prompt_words, tokens):
    rng = random.Random(seed)
    words = " ".join(rng.choice(WORDS) for _ in range(prompt_words))
    body = {"model": model, "prompt": words, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    begin = time.monotonic()
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    data = reply.read()
    if reply.status != 200: raise SystemExit(f"{model}: {reply.status} {data[:300]}")
    return time.monotonic() - begin


WORDS = "river market baker hand light engine winter paper stone garden letter north bread window colour simple".split()


def load(a, models, seed):
    """Requests per second of len(models) requests by a.clients clients."""
    lock, at = threading.Lock(), iter(enumerate(models))

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", a.port, timeout=300)
        while True:
            with lock: item = next(at, None)
            if item is None: return
            ask(connection, item[1], seed + item[0], a.prompt, a.tokens)

    begin = time.monotonic()
    threads = [threading.Thread(target=client) for _ in range(a.clients)]
    for t in threads: t.start()
    for t in threads: t.join()
    return len(models) / (time.monotonic() - begin)


def zipf(a):
    rng = random.Random(4)
    cumulated, total = [], 0.0
    for i in range(a.count): cumulated.append(total := total + 1 / (i + 1))
    rates = {"base": [], "zipf": []}
    for turn in range(a.rounds):
        names = [f"{a.prefix}{bisect.bisect(cumulated, rng.random() * total):03d}" for _ in range(a.requests)]
        rates["base"].append(load(a, [a.base] * a.requests, 1000 * turn))
        rates["zipf"].append(load(a, names, 1000 * turn + 500))
    base, mixed = (statistics.median(rates[k]) for k in ("base", "zipf"))
    print(json.dumps({"base_req_s": round_all(rates["base"]), "zipf_req_s": round_all(rates["zipf"]), "distinct_last": len(set(names)), "ratio": round(mixed / base, 3)}))


def first(a):
    connection = http.client.HTTPConnection("127.0.0.1", a.port, timeout=300)
    if a.drop:
        os.sync()
        for folder, _, files in os.walk(os.path.join(a.drop, "artifact")):
            for f in files:
                fd = os.open(os.path.join(folder, f), os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)
    ask(connection, a.base, 1, 8, 1)
    added, again = [], []
    for i in range(a.n):
        name = f"{a.prefix}{a.from_ + i:03d}"
        base = statistics.median(ask(connection, a.base, 100 + 10 * i + j, 8, 1) for j in range(3))
        added.append(1e3 * (ask(connection, name, 7 * i, 8, 1) - base))
        again.append(1e3 * (ask(connection, name, 7 * i + 3, 8, 1) - base))
    added.sort()
    print(json.dumps({"first_use_added_ms": {"median": round(added[len(added) // 2], 2), "p90": round(added[int(0.9 * (len(added) - 1))], 2), "most": round(added[-1], 2)},
                      "second_use_added_ms": round(statistics.median(again), 2), "n": a.n}))


def round_all(xs):
    return [round(x, 2) for x in xs]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("zipf", "first")); p.add_argument("--port", type=int, required=True); p.add_argument("--base", required=True)
    p.add_argument("--prefix", default="z"); p.add_argument("--count", type=int, default=500); p.add_argument("--clients", type=int, default=16)
    p.add_argument("--requests", type=int, default=48); p.add_argument("--rounds", type=int, default=2); p.add_argument("--prompt", type=int, default=100)
    p.add_argument("--tokens", type=int, default=32); p.add_argument("--from", dest="from_", type=int, default=300); p.add_argument("--n", type=int, default=20)
    p.add_argument("--drop")
    a = p.parse_args()
    zipf(a) if a.what == "zipf" else first(a)


if __name__ == "__main__":
    main()
