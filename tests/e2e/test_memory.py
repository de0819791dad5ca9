"""The plan of `hone plan serve` against what the processes hold once everything was touched."""
import http.client, json, subprocess, threading

from conftest import HONE, MODEL
from test_overload import start  # noqa: F401 (a fixture)


def smaps(pid):
    found = {}
    for line in open(f"/proc/{pid}/smaps_rollup"):
        name, _, value = line.partition(":")
        if value.strip().endswith("kB"): found[name] = int(value.split()[0]) * 1024
    return found


def private(pid):
    """Bytes that are this process's alone; the tiles are a shared file even while one process maps them."""
    own, keep = 0, False
    for line in open(f"/proc/{pid}/smaps"):
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"): keep = not line.rstrip().endswith(".tiles")
        elif words[0] in ("Private_Clean:", "Private_Dirty:") and keep: own += int(words[1]) * 1024
    return own


def complete(port, i, prompt, output):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    tokens = [(i * 7919 + k * 31) % 40000 + 100 for k in range(prompt)]
    body = {"model": MODEL, "prompt": tokens, "max_tokens": output, "ignore_eos": True, "temperature": 0.9, "top_p": 0.9, "logprobs": 3, "echo": True, "frequency_penalty": 0.1}
    conn.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    r = conn.getresponse()
    text = r.read()
    conn.close()
    assert r.status == 200, text


def load(port, n, prompt, output):
    threads = [threading.Thread(target=complete, args=(port, i, prompt, output)) for i in range(n)]
    for t in threads: t.start()
    for t in threads: t.join()


def plan(home, *options):
    out = subprocess.run([HONE, "plan", "serve", "--model", MODEL, "--home", home, "--json", *options], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["memory_bytes"]


def test_a_copy_uses_what_the_plan_says(start, home):
    options = ("--kv-mb", "64", "--max-sequences", "16", "--threads", "2")
    wanted = plan(home, *options)
    s = start(*options)
    load(s.port, 16, 8, 30)  # every row of logits
    load(s.port, 20, 200, 12)  # more than the pages hold
    pid, = s.copies()
    held = smaps(pid)
    print(f"plan {wanted['total']}, resident {held['Rss']}, proportional {held['Pss']}, private {private(pid)}; {wanted}")
    # Text that other programs of the machine map too counts in part in one of the two, and in whole in the other.
    assert held["Pss"] * 0.98 <= wanted["total"] <= held["Rss"] * 1.02
    assert abs(private(pid) - wanted["copy"]) <= 0.02 * wanted["total"]


def test_ten_copies_share_the_weights(start, home):
    options = ("--kv-mb", "8", "--copies", "10", "--threads", "1", "--max-length", "300", "--max-sequences", "32")
    wanted = plan(home, *options)
    s = start(*options)
    load(s.port, 60, 20, 8)
    pids = s.copies()
    assert len(pids) == 10
    total = sum(smaps(pid)["Pss"] for pid in pids)
    more = max(private(pid) for pid in pids) - wanted["kv"]
    print(f"plan {wanted['total']}, ten copies {total}; one more costs {more} beside its keys and values")
    assert total <= wanted["total"] * 1.02 and total < 5 * wanted["weights"]
    assert more <= 40e6
