"""What the headline numbers share: where things are, servers that are started and stopped, turns, medians."""
import atexit, json, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time, urllib.request


class Skip(Exception):
    pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as r:
        return r.status, r.read()


def post(url, body, timeout=600):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as r:
        return json.loads(r.read())


class Server:
    """A process that answers HTTP on a port of its own; its first process is what memory and CPU are asked of."""

    def __init__(self, argv, port, ready, env=None, log=None):
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self.log = log or tempfile.NamedTemporaryFile("w+", suffix=".log", delete=False).name
        self.process = subprocess.Popen(argv, stdout=open(self.log, "w"), stderr=subprocess.STDOUT, env=env)
        until = time.time() + 120
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{argv[0]} ended: " + open(self.log).read()[-600:])
            try:
                if get(self.url + ready)[0] == 200:
                    return
            except Exception:
                pass
            if time.time() > until:
                self.stop()
                raise RuntimeError(f"{argv[0]} is not ready after two minutes: " + open(self.log).read()[-600:])
            time.sleep(0.02)

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Bench:
    def __init__(self, build, rounds):
        self.build, self.rounds, self.servers = build, rounds, []
        self.hone = os.path.join(build, "hone")
        self.shared = os.environ.get("HONE_SHARED") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "shared")
        self.peers = os.environ.get("PEERS_DIR", "")
        self.folder = tempfile.mkdtemp(prefix="hone-bench-")
        atexit.register(shutil.rmtree, self.folder, True)
        self._limits = None
        if not os.path.exists(self.hone):
            sys.exit(f"{self.hone} is not there: build first, or say --build")

    # ---- where things are ----

    def tool(self, path):
        full = os.path.join(self.build, "tests", path)
        if not os.path.exists(full):
            raise Skip(f"{full} is not built")
        return full

    def model(self, kind="q4_1"):
        for path in (os.environ.get("HONE_BENCH_MODEL_" + kind.upper(), ""), os.path.join(self.peers, "model", f"smollm2-135m-{kind}.gguf")):
            if path and os.path.exists(path):
                return path
        raise Skip(f"no model {kind}: set PEERS_DIR, or HONE_BENCH_MODEL_{kind.upper()}")

    def peer(self, name):
        full = os.path.join(self.peers, name)
        if not self.peers or not os.path.exists(full):
            raise Skip(f"PEERS_DIR has no {name}")
        return full

    def script(self, name):
        full = os.path.join(self.shared, "peers", name)
        if not os.path.exists(full):
            raise Skip(f"HONE_SHARED has no peers/{name}")
        return full

    @property
    def python(self):
        return self.peer("venv/bin/python")

    def machine(self):
        cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?")
        flags = next((l for l in open("/proc/cpuinfo") if l.startswith("flags")), "")
        sets = [f for f in ("amx_int8", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx2") if f in flags]
        text = f"{cpu}, {os.cpu_count()} CPUs, {' '.join(sets)}"
        try:
            l = self.limits()
            text += f"; read {l['read_GBs_2t']:.1f} GB/s, int8 {l['vnni_int8_TOPs_2t']:.2f} TOP/s, bf16 {l['bf16_TFLOPs_2t']:.2f} TFLOP/s"
        except Skip:
            pass
        return text

    def limits(self):
        if self._limits is None:
            self._limits = json.loads(subprocess.run([self.peer("bin/limits")], capture_output=True, text=True, check=True).stdout)
        return self._limits

    # ---- running ----

    def lines(self, *argv, timeout=900):
        """The JSON lines that a program prints."""
        out = subprocess.run(argv, capture_output=True, text=True, timeout=timeout)
        if out.returncode:
            raise RuntimeError(f"{os.path.basename(argv[0])}: {out.stderr[-500:]}")
        return [json.loads(l) for l in out.stdout.splitlines() if l.startswith("{")]

    def serve(self, *options, model=None, home=None, port=None):
        port = port or free_port()
        home = home or tempfile.mkdtemp(dir=self.folder)
        if model:  # requests name models, never paths
            subprocess.run([self.hone, "pull", model, "--as", "m", "--home", home], check=True, capture_output=True)
            model = "m"
        argv = [self.hone, "serve", "--home", home, "--listen", f"127.0.0.1:{port}", *options]
        s = Server(argv + (["--model", model] if model else []), port, "/readyz")
        s.home = home
        self.servers.append(s)
        return s

    def llama_server(self, model, *options):
        port = free_port()
        argv = [self.peer("bin/llama-server"), "-m", model, "-t", str(os.cpu_count()), "--host", "127.0.0.1", "--port", str(port), *options]
        s = Server(argv, port, "/health")
        self.servers.append(s)
        return s

    def stop_all(self):
        while self.servers:
            self.servers.pop().stop()

    def load(self, server, model, mode="hone", **options):
        argv = [self.python, self.script("bench_http.py"), "--base-url", server.url, "--model", model, "--mode", mode, "--extra", '{"ignore_eos": true}',
                "--server-pid", str(server.pid)]
        for k, v in options.items():
            argv += ["--" + k.replace("_", "-"), str(v)]
        out = subprocess.run(argv, capture_output=True, text=True, timeout=1800)
        if out.returncode:
            raise RuntimeError("bench_http: " + out.stderr[-500:])
        return json.loads(out.stdout[out.stdout.index("{"):])

    def turns(self, **ways):
        """Each way once a round, in turns; {name: [results]}."""
        results = {k: [] for k in ways}
        for i in range(self.rounds):
            for k in list(ways) if i % 2 == 0 else list(ways)[::-1]:
                results[k].append(ways[k]())
        return results


def median(xs):
    return statistics.median(xs)


def row(name, hone, peer=None, floor=None, less_is_better=False, ratio=True):
    """hone, peer: numbers of the rounds.  With a peer the floor is of the ratio of medians, else of the number itself."""
    hone = list(hone) if isinstance(hone, (list, tuple)) else [hone]
    peer = list(peer) if isinstance(peer, (list, tuple)) else [peer] if peer is not None else []
    r = dict(name=name, hone=median(hone), spread=(min(hone), max(hone)) if len(hone) > 1 else None, peer=median(peer) if peer else None,
             less_is_better=less_is_better, floor=floor, ratio=None, ok=None)
    value = r["hone"]
    if peer and ratio:
        value = r["ratio"] = r["hone"] / r["peer"] if r["peer"] else float("inf")
    if floor is not None:
        r["ok"] = value <= floor if less_is_better else value >= floor
    return r
