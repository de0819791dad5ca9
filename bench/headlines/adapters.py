"""8 clients with 8 different adapters: requests/s against Hone's own base-only load and against llama-server."""
import os, subprocess, sys

from .common import row


def hone_adapters(b, s, model, count, rank="16", targets="all"):
    """Makes and registers adapters in the server's home; their names."""
    folder = os.path.join(b.folder, f"adapters-{rank}-{targets}")
    here = os.path.dirname(os.path.abspath(__file__))
    if not os.path.exists(os.path.join(folder, f"{count - 1:04d}")):
        subprocess.run([sys.executable, os.path.join(here, "..", "make_adapters.py"), "--out", folder, "--count", str(count), "--rank", rank, "--targets", targets], check=True)
    names = []
    for i in range(count):
        name = f"a{i:04d}"
        subprocess.run([b.hone, "pull", "--home", s.home, os.path.join(folder, f"{i:04d}"), "--base", model, "--as", name], check=True, capture_output=True)
        names.append(name)
    return folder, names


def gguf_adapters(b, folder, count):
    """The same adapters as llama.cpp reads them; q and k rows stay in Hugging Face's order, which costs the same time."""
    code = f'''
import json, sys, gguf, numpy as np
from safetensors.numpy import load_file
names = dict(q_proj="attn_q", k_proj="attn_k", v_proj="attn_v", o_proj="attn_output", gate_proj="ffn_gate", up_proj="ffn_up", down_proj="ffn_down")
for i in range({count}):
    d = "{folder}/%04d" % i
    c = json.load(open(d + "/adapter_config.json"))
    w = gguf.GGUFWriter(d + ".gguf", "llama")
    w.add_type("adapter"); w.add_string("adapter.type", "lora"); w.add_float32("adapter.lora.alpha", float(c["lora_alpha"]))
    for k, v in load_file(d + "/adapter_model.safetensors").items():
        p = k.split(".")
        layer, module, part = p[p.index("layers") + 1], p[-3], p[-2]
        w.add_tensor(f"blk.{{layer}}.{{names[module]}}.weight.{{'lora_a' if part == 'lora_A' else 'lora_b'}}", v.astype(np.float32))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
'''
    subprocess.run([b.python, "-c", code], check=True)
    return [os.path.join(folder, f"{i:04d}.gguf") for i in range(count)]


def measure(b):
    model = b.model("q4_1")
    s = b.serve(model=model)
    folder, names = hone_adapters(b, s, "m", 8)
    load = dict(concurrency=8, requests=64, prompt_tokens=200, output_tokens=64)
    b.load(s, "m", adapters=",".join(names), **dict(load, requests=8, first=900000))  # all resident
    turn = [0]

    def run(**more):
        turn[0] += 1
        return b.load(s, "m", first=turn[0] * 1000, **load, **more)["req_s"]

    r = b.turns(base=lambda: run(), mixed=lambda: run(adapters=",".join(names)))
    yield row("8 clients, 8 adapters, requests/s: base only", r["mixed"], r["base"], floor=0.9)
    s.stop()
    files = gguf_adapters(b, folder, 8)
    options = [x for f in files for x in ("--lora", f)]
    peer = []
    for kind in ("q4_1", "q4_0"):
        t = b.llama_server(b.model(kind), "-np", "8", "-c", "8192", "--lora-init-without-apply", *options)
        peer.append(b.load(t, "m", mode="llama", adapters=",".join(map(str, range(8))), **dict(load, requests=24))["req_s"])
        t.stop()
    yield row("  llama-server in its best format (one run of 24)", r["mixed"], max(peer), floor=3.5)
