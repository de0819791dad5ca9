"""Train = serve: the log-probabilities of an answer from the trainer's forward pass, from a prompt's echo and from decoding
token by token are equal as bits, with adapter and without, on a quantised file and on a bf16 folder."""
import json, os, shutil, sqlite3, struct, subprocess

import pytest

from conftest import HONE, MODEL, SHARED, Server
from test_resources import finished

ROWS = int(os.environ.get("HONE_BITS_ROWS", "12"))  # the acceptance run uses 100


def bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def rows_of(n):
    jobs = ["nurse", "welder", "teacher", "baker", "driver", "clerk", "judge", "pilot", "cook", "tailor"]
    places = ["Aarhus", "Leeds", "Austin", "Ghent", "Lyon", "Porto", "Graz"]
    return [[{"role": "user", "content": f"{i}. What does a {jobs[i % 10]} in {places[i % 7]} do all day?" + " Please answer." * (i % 5)}] for i in range(n)]


def compare(server, home, name, base, adapter, tmp_path, n, length):
    c = server.client()
    rows, decoded, echoed = [], [], []
    greedy = dict(temperature=0, max_tokens=length, extra_body={"ignore_eos": True, "return_token_ids": True})
    for messages in rows_of(n):
        chat = c.chat.completions.create(model=name, messages=messages, logprobs=True, **greedy).choices[0]
        prompt, answer = chat.prompt_token_ids, chat.token_ids
        plain = c.completions.create(model=name, prompt=prompt, logprobs=0, **greedy).choices[0]
        assert plain.token_ids == answer
        told = [bits(x) for x in plain.logprobs.token_logprobs]
        assert [bits(x.logprob) for x in chat.logprobs.content] == told
        # end-of-turn tokens are ignored here, so every id of the answer has its number
        assert len(told) == len(answer)
        echo = c.completions.create(model=name, prompt=prompt + answer, max_tokens=0, echo=True, logprobs=0).choices[0]
        rows.append({"tokens": prompt + answer, "labels": [-100] * len(prompt) + answer})
        decoded.append(told)
        echoed.append([bits(x) for x in echo.logprobs.token_logprobs[len(prompt) :]])
    assert echoed == decoded
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    more = ["--adapter", adapter] if adapter else []
    out = subprocess.run([HONE, "inspect", "loss", "--model", base, *more, "--input", str(path), "--logprobs", "--json", "--home", home], check=True, capture_output=True)
    assert [[bits(x) for x in row] for row in json.loads(out.stdout)["logprobs"]] == decoded
    print(f"{name}: {sum(map(len, decoded))} log-probabilities of {n} rows are equal as bits, three ways")


def train(client, model, train_file):
    f = client.files.create(file=open(train_file, "rb"), purpose="fine-tune")
    job = finished(client, client.fine_tuning.jobs.create(model=model, training_file=f.id, seed=9, hyperparameters={"n_epochs": 2, "batch_size": 8}))
    assert job.status == "succeeded", job.error
    return job.fine_tuned_model


def adapter_folder(home, version, tmp_path):
    """PEFT's two files of a version, out of the home folder's artifacts."""
    row = sqlite3.connect(os.path.join(home, "hone.db")).execute("select config_digest, weights_digest from version where id = ?", (version,)).fetchone()
    folder = tmp_path / "adapter"
    folder.mkdir()
    for digest, name in zip(row, ("adapter_config.json", "adapter_model.safetensors")):
        shutil.copy(os.path.join(home, "artifact", digest[:2], digest[2:]), folder / name)
    return str(folder)


def test_the_quantised_file(server, client, home, train_file, tmp_path):
    compare(server, home, MODEL, MODEL, None, tmp_path, ROWS, 16)
    tuned = train(client, MODEL, train_file)
    compare(server, home, tuned, MODEL, adapter_folder(home, tuned, tmp_path), tmp_path, ROWS, 16)


def test_a_bf16_folder(train_file, tmp_path):
    family = SHARED / "oracle" / "families" / "qwen3"
    if not family.exists(): pytest.skip(f"no model folders under {SHARED}")
    folder = tmp_path / "tiny"
    shutil.copytree(family, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"): shutil.copy(SHARED / "oracle" / "tokenizers" / "tiny320" / name, folder / name)
    for f in folder.iterdir(): f.chmod(0o644)
    # the folder's own promise of 128 positions is short for these rows; nothing in its mathematics depends on it
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = 2048
    (folder / "config.json").write_text(json.dumps(config))
    home = str(tmp_path / "home")
    subprocess.run([HONE, "pull", str(folder), "--as", "tiny", "--home", home], check=True)
    s = Server(home, "--model", "tiny").start()
    try:
        s.wait_ready()
        compare(s, home, "tiny", "tiny", None, tmp_path, ROWS, 16)
        tuned = train(s.client(), "tiny", train_file)
        compare(s, home, tuned, "tiny", adapter_folder(home, tuned, tmp_path), tmp_path, ROWS, 16)
    finally:
        assert s.stop() == 0
