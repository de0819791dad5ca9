"""What one more copy of a base costs beyond its keys and values, and how far the plan is from what a copy uses."""
import json, os, re, subprocess, time

from .common import get, post, row


def children(pid):
    out = []
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                stat = open(f"/proc/{p}/stat").read()
                if int(stat[stat.rindex(")") + 2:].split()[1]) == pid and b"copy" in open(f"/proc/{p}/cmdline", "rb").read():
                    out.append(int(p))
            except OSError:
                pass
    return out


def rollup(pid):
    return {k: int(v) * 1024 for k, v in re.findall(r"^(\w+):\s+(\d+) kB", open(f"/proc/{pid}/smaps_rollup").read(), re.M)}


def measure(b):
    model = b.model("q4_1")
    plan = json.loads(subprocess.run([b.hone, "plan", "serve", "--model", model, "--json"], capture_output=True, text=True, check=True).stdout)["memory_bytes"]
    s = b.serve("--copies", "3", model=model)
    time.sleep(1)
    until = time.time() + 60
    while len(children(s.pid)) < 3 and time.time() < until:
        time.sleep(0.2)
    for i in range(12):  # every copy has worked once
        post(s.url + "/v1/completions", dict(model="m", prompt=f"{i} " + "word " * 300, max_tokens=8))
    copies = [rollup(p) for p in children(s.pid)]
    private = [c["Private_Dirty"] + c["Private_Clean"] for c in copies]
    used = [max(0, p) for p in private]
    kv = plan["kv"]
    yield row("private memory of one more copy, MB, all of it", [p / 1e6 for p in used])
    yield row("  the plan's keys and values, MB", kv / 1e6)
    shared = [c["Pss"] / 1e6 for c in copies]
    yield row("  proportional set size of each of three copies, MB", shared)
