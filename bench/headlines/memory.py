"""Private memory of one more copy of a base that has not worked yet, and what is shared among ten."""
import os, re, time

from .common import post, row


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
    s = b.serve("--copies", "10", model=b.model("q4_1"))
    until = time.time() + 60
    while len(children(s.pid)) < 10 and time.time() < until:
        time.sleep(0.2)
    post(s.url + "/v1/completions", dict(model="m", prompt="word " * 300, max_tokens=8))
    copies = sorted((rollup(p) for p in children(s.pid)), key=lambda c: c["Private_Dirty"] + c["Private_Clean"])
    assert len(copies) == 10, f"{len(copies)} copies"
    idle = copies[:-1]  # one has answered
    yield row("private memory of one more copy that waits, MB", [(c["Private_Dirty"] + c["Private_Clean"]) / 1e6 for c in idle], floor=40, less_is_better=True)
    yield row("  all ten together (proportional set size), MB", sum(c["Pss"] for c in copies) / 1e6)
