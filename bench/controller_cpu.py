#!/usr/bin/env python3
"""What the controller itself costs: CPU microseconds per request and per streamed token.

    bench/controller_cpu.py build/hone MODEL.gguf [--requests 200] [--streams 32] [--tokens 200]

Starts a server on a home of its own and loads it twice: many short requests, then few long streams.  The controller's
time is /proc/PID/schedstat, to the nanosecond, so neither the copy nor this client counts.  Prints one JSON object.
"""
import argparse, asyncio, json, os, signal, subprocess, sys, tempfile, time, urllib.request

PROMPT = "Summarise this advertisement for a job. " + "You plan the weekly schedule of the warehouse, check invoices and train new colleagues. " * 11


def cpu_ns(pid):
    """Time on the processor of every thread of pid."""
    total = 0
    for t in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{t}/schedstat") as f: total += int(f.read().split()[0])
    return total


async def one(reader, writer, model, max_tokens, i):
    """One streamed request; returns the number of events with text."""
    body = json.dumps(dict(model=model, messages=[{"role": "user", "content": f"{i}. {PROMPT}"}], stream=True, temperature=0, max_tokens=max_tokens, ignore_eos=True)).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        piece = await reader.read(1 << 16)
        assert piece, data[-400:]
        data += piece
    assert b"[DONE]" in data, data[:400]
    return data.count(b'"content":')


async def load(port, model, requests, at_once, max_tokens):
    todo = iter(range(requests))
    async def client():  # a connection each, kept alive as OpenAI's clients do
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        done = [await one(reader, writer, model, max_tokens, i) for i in todo]
        writer.close()
        return done
    return sum(map(sum, await asyncio.gather(*(client() for _ in range(at_once)))))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("hone"); p.add_argument("model")
    p.add_argument("--requests", type=int, default=200); p.add_argument("--streams", type=int, default=32); p.add_argument("--tokens", type=int, default=200)
    p.add_argument("--home"); p.add_argument("--hold", action="store_true", help="say the process id on stderr and wait for a line before the long streams (to attach a profiler)")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([a.hone, "serve", "--home", a.home or folder, "--listen", "127.0.0.1:0", "--json", "--model", a.model], stdout=subprocess.PIPE, text=True)
        try:
            port = json.loads(server.stdout.readline())["port"]
            model = os.path.basename(a.model).removesuffix(".gguf")
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as r:
                        if b'"running"' in r.read(): break
                except OSError: pass
                time.sleep(0.1)
            asyncio.run(load(port, model, 8, 8, 4))  # the tokenizer, the template, the first connections
            before = cpu_ns(server.pid); asyncio.run(load(port, model, a.requests, 16, 1)); short = cpu_ns(server.pid) - before
            if a.hold:
                print(server.pid, file=sys.stderr, flush=True); sys.stdin.readline()
            before = cpu_ns(server.pid); start = time.monotonic()
            chunks = asyncio.run(load(port, model, a.streams, a.streams, a.tokens))
            wall = time.monotonic() - start; long = cpu_ns(server.pid) - before
            per_request = short / a.requests
            per_token = (long - a.streams * per_request) / (a.streams * (a.tokens - 1))
            print(json.dumps(dict(requests=a.requests, us_per_request=round(per_request / 1e3, 1), streams=a.streams, tokens=a.streams * a.tokens, chunks=chunks,
                                  us_per_token=round(per_token / 1e3, 2), tokens_per_second=round(a.streams * a.tokens / wall, 1))))
        finally:
            server.send_signal(signal.SIGTERM); server.wait(60)


main()
