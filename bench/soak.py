#!/usr/bin/env python3
"""A long run at 80 % load with everything that goes wrong in production: no wrong byte, no lost stream, flat memory.

    bench/soak.py build/hone MODEL.gguf [--minutes 60] [--adapters 8] [--load 0.8] [--every 10] [--home DIR]

Before: every (adapter, prompt, sampling) of a fixed set is asked once, alone; that text is what each later answer has to
be, byte for byte.  Then requests arrive at random (Poisson) at --load of the rate that the server was measured to bear.
Some clients leave in mid-stream.  Every --every seconds one of these happens in turn: a copy is killed with SIGKILL, the
name "live" goes to another adapter, a new adapter is registered.  A reply under "live" must be wholly the text of the
version that its "model" names.  Memory of controller and copies is read every 10 s: the mean of the last quarter may be at
most 10 % and 20 MB over that of the second quarter.  Prints a line a minute and one JSON object; exit status 1 on any
fault."""
import argparse, asyncio, json, os, random, signal, subprocess, sys, tempfile, time, urllib.request

TOPICS = ["a night shift nurse", "forklift drivers in Ghent", "an accountant for a bakery", "welders", "a Python developer", "teachers of maths", "a hotel cook", "bus drivers"]
HERE = os.path.dirname(os.path.abspath(__file__))


def fixed_set(names, rng):
    out = []
    for i, t in enumerate(TOPICS):
        for name in names:
            out.append(dict(model=name, messages=[{"role": "user", "content": f"Write a job advertisement for {t}. " + "Mention the hours and the pay. " * (i % 4 * 10)}],
                            temperature=[0, 0.8][i % 2], seed=1000 + i, max_tokens=[24, 48, 96, 160][i % 4], ignore_eos=i % 3 == 0))
    rng.shuffle(out)
    return out


async def ask(port, body, leave_after=None):
    """(model, text, finish) of one streamed request; text None: this client left."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        data = json.dumps(dict(body, stream=True)).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(head.decode() + (await reader.read(2000)).decode())
        text, model, finish, n = "", None, None, 0
        while True:
            line = await asyncio.wait_for(reader.readline(), 180)
            if not line:
                raise RuntimeError("the stream ended without [DONE]")
            if not line.startswith(b"data: "):
                continue
            if line.strip() == b"data: [DONE]":
                return model, text, finish
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise RuntimeError(json.dumps(chunk))
            model = model or chunk["model"]
            if chunk["model"] != model:
                raise RuntimeError(f"one reply names {model} and {chunk['model']}")
            for c in chunk["choices"]:
                text += c["delta"].get("content") or ""
                finish = c["finish_reason"] or finish
                n += 1
            if leave_after and n >= leave_after:
                return model, None, None
    finally:
        writer.close()


def processes(pid):
    """The server and its copies."""
    out = {pid: "controller"}
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                stat = open(f"/proc/{p}/stat").read()
                if int(stat[stat.rindex(")") + 2:].split()[1]) == pid and b"copy" in open(f"/proc/{p}/cmdline", "rb").read().split(b"\0"):
                    out[int(p)] = "copy"
            except OSError:
                pass
    return out


def private(pid):
    try:
        return sum(int(l.split()[1]) for l in open(f"/proc/{pid}/smaps_rollup") if l.startswith(("Private_Clean", "Private_Dirty"))) * 1024
    except OSError:
        return 0


class Soak:
    def __init__(self, a):
        self.a, self.rng = a, random.Random(5)
        self.home = a.home or tempfile.mkdtemp(prefix="hone-soak-")
        self.faults, self.memory, self.done, self.left, self.events = [], [], 0, 0, dict(kills=0, swaps=0, added=0)
        self.expected = {}

    def hone(self, *argv):
        return subprocess.run([self.a.hone, *argv, "--home", self.home], check=True, capture_output=True, text=True).stdout

    def adapter_folder(self, i):
        folder = os.path.join(self.home, "made")
        if not os.path.exists(f"{folder}/{i:04d}"):
            subprocess.run([sys.executable, os.path.join(HERE, "make_adapters.py"), "--out", folder, "--count", str(i + 8), "--rank", "16", "--targets", "q_proj,v_proj"], check=True)
        return f"{folder}/{i:04d}"

    def start(self):
        os.makedirs(self.home, exist_ok=True)
        self.hone("pull", self.a.model, "--as", "base")
        self.names = []
        for i in range(self.a.adapters):
            self.hone("pull", self.adapter_folder(i), "--base", "base", "--as", f"a{i}")
            self.names.append(f"a{i}")
        self.version = {n: json.loads(self.hone("alias", "live", n, "--json"))["version"] for n in self.names}
        self.process = subprocess.Popen([self.a.hone, "serve", "--home", self.home, "--listen", "127.0.0.1:0", "--model", "base", "--max-sequences", "16"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        import re, threading
        self.port = None
        def read(stream):
            for line in stream:
                m = re.search(r"127\.0\.0\.1:(\d+)", line)
                if m and not self.port: self.port = int(m.group(1))
        for s in (self.process.stdout, self.process.stderr): threading.Thread(target=read, args=(s,), daemon=True).start()
        until = time.time() + 60
        while time.time() < until:
            try:
                if self.port and urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status == 200: return
            except OSError: pass
            time.sleep(0.1)
        raise SystemExit("the server is not ready after a minute")

    async def learn(self):
        """What each request says when it is alone, and how many of them a second the server bears."""
        self.requests = fixed_set(["base"] + self.names, self.rng)
        for i, r in enumerate(self.requests):
            self.expected[i] = (await ask(self.port, r))[1]
        t0, todo = time.perf_counter(), list(range(len(self.requests)))
        async def worker():
            while todo:
                i = todo.pop()
                self.check(i, await ask(self.port, self.requests[i]))
        await asyncio.gather(*(worker() for _ in range(16)))
        self.rate = len(self.requests) / (time.perf_counter() - t0)

    def check(self, i, answer):
        if answer[1] != self.expected[i] and len(self.faults) < 20:
            self.faults.append(f"request {i} ({self.requests[i]['model']}): {answer[1]!r} for {self.expected[i]!r}")

    async def one(self):
        i = self.rng.randrange(len(self.requests))
        body = self.requests[i]
        live = body["model"] in self.names and self.rng.random() < 0.3
        leave = self.rng.randrange(1, 20) if self.rng.random() < 0.1 else None
        try:
            model, text, finish = await ask(self.port, dict(body, model="live") if live else body, leave)
            if text is None:
                self.left += 1
            elif not live:
                self.check(i, (model, text))
            else:  # the text of the version that answered
                name = next((n for n, v in self.version.items() if model == v), None)
                j = next((j for j, r in enumerate(self.requests) if dict(r, model="") == dict(body, model="") and r["model"] == name), None)
                if j is None or text != self.expected[j]:
                    self.faults.append(f"live answered as {model} ({name}): {text!r}")
            self.done += 1
        except Exception as e:
            self.faults.append(f"{type(e).__name__}: {e}")

    async def trouble(self, until):
        n, live = 0, 0
        while time.time() < until - 5:
            await asyncio.sleep(self.a.every)
            kind = ("kill", "swap", "add")[n % 3]
            n += 1
            loop = asyncio.get_running_loop()
            if kind == "kill":
                for p, what in processes(self.process.pid).items():
                    if what == "copy":
                        os.kill(p, signal.SIGKILL)
                        self.events["kills"] += 1
                        break
            elif kind == "swap":
                live = (live + 1) % len(self.names)
                await loop.run_in_executor(None, lambda: self.point("live", self.names[live]))
                self.events["swaps"] += 1
            else:
                k = self.a.adapters + self.events["added"]
                await loop.run_in_executor(None, lambda: self.hone("pull", self.adapter_folder(k), "--base", "base", "--as", f"late{k}"))
                self.events["added"] += 1

    def point(self, alias, name):
        self.hone("alias", alias, name)

    async def watch(self, until):
        began = time.time()
        while time.time() < until:
            await asyncio.sleep(10)
            p = processes(self.process.pid)
            self.memory.append({what: sum(private(q) for q, w in p.items() if w == what) for what in ("controller", "copy")})
            if len(self.memory) % 6 == 0:
                m = self.memory[-1]
                print(f"{(time.time() - began) / 60:.0f} min: {self.done} answers, {self.left} left, {self.events}, {len(self.faults)} faults, "
                      f"controller {m['controller'] / 1e6:.0f} MB, copy {m['copy'] / 1e6:.0f} MB", flush=True)

    async def run(self):
        self.point("live", self.names[0])
        await self.learn()
        print(f"{len(self.requests)} requests learnt; the server bears {self.rate:.2f} a second", flush=True)
        until = time.time() + self.a.minutes * 60
        tasks = [asyncio.create_task(self.trouble(until)), asyncio.create_task(self.watch(until))]
        running = set()
        while time.time() < until and len(self.faults) < 20:
            await asyncio.sleep(self.rng.expovariate(self.rate * self.a.load))
            t = asyncio.create_task(self.one())
            running.add(t)
            t.add_done_callback(running.discard)
        await asyncio.gather(*running)
        for t in tasks: t.cancel()
        for r in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(r, Exception): self.faults.append(f"{type(r).__name__}: {r}")

    def flat(self):
        """A fault where memory grew."""
        n = len(self.memory)
        if n < 8: return
        for what in ("controller", "copy"):
            early = [m[what] for m in self.memory[n // 4:n // 2] if m[what]]
            late = [m[what] for m in self.memory[-(n // 4):] if m[what]]
            a, b = sum(early) / len(early), sum(late) / len(late)
            if b > a * 1.1 + 20e6:
                self.faults.append(f"memory of the {what} grew from {a / 1e6:.0f} to {b / 1e6:.0f} MB")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("hone"); p.add_argument("model"); p.add_argument("--minutes", type=float, default=60); p.add_argument("--adapters", type=int, default=8)
    p.add_argument("--load", type=float, default=0.8); p.add_argument("--every", type=float, default=10); p.add_argument("--home")
    s = Soak(p.parse_args())
    s.start()
    try:
        asyncio.run(s.run())
    finally:
        s.process.terminate()
        code = s.process.wait(60)
    s.flat()
    if code: s.faults.append(f"the server ended with {code}")
    print(json.dumps(dict(answers=s.done, left=s.left, rate=round(s.rate * s.a.load, 2), **s.events, faults=s.faults, memory_last=s.memory[-1:] and s.memory[-1])))
    sys.exit(bool(s.faults))


main()
