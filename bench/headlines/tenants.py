"""64 different adapters in one batch against one; 500 registered with Zipf traffic against the base alone."""
import random, sys, os, subprocess

from .adapters import hone_adapters
from .common import row


def measure(b):
    model = b.model("q4_1")
    here = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.join(b.folder, "batch")
    subprocess.run([sys.executable, os.path.join(here, "..", "make_adapters.py"), "--out", folder, "--count", "64"], check=True)
    lines = b.lines(b.tool("engine/adapters_bench"), "--model", model, "--adapters", folder, "--streams", "64", "--distinct", "1,64", "--rounds", str(max(3, b.rounds)))
    rate = {l["distinct"]: l["tok_s"] for l in lines if "distinct" in l}
    yield row("64 streams, 64 adapters in one batch, tok/s: one adapter", rate[64], rate[1], floor=0.9)

    s = b.serve(model=model)
    _, names = hone_adapters(b, s, "m", 500, rank="16", targets="q_proj,v_proj")
    rng = random.Random(7)
    weights = [1 / (i + 1) for i in range(len(names))]
    load = dict(concurrency=16, requests=128, prompt_tokens=200, output_tokens=64)
    turn = [0]

    def run(**more):
        turn[0] += 1
        return b.load(s, "m", first=turn[0] * 1000, **load, **more)["req_s"]

    zipf = lambda: run(adapters=",".join(rng.choices(names, weights, k=load["requests"])))
    r = b.turns(base=lambda: run(), zipf=zipf)
    yield row("500 adapters registered, Zipf, requests/s: base only", r["zipf"], r["base"], floor=0.85)
