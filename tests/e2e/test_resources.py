"""Completions, embeddings, models, files, fine-tuning."""
import base64, json, math, os, pathlib, shutil, struct, subprocess, time, urllib.request

import openai, pytest

from conftest import E2E_DIR, HERE, MODEL


def test_completions(client, valid):
    r = client.completions.create(model=MODEL, prompt=["The nurse", "A welder"], max_tokens=6, temperature=0, n=2, seed=1, logprobs=2, echo=True)
    # The first token of an echo has no probability: OpenAI's servers say null, which their description does not know.
    told = r.model_dump(mode="json", exclude_unset=True)
    for c in told["choices"]:
        assert c["logprobs"]["token_logprobs"][0] is None and c["logprobs"]["top_logprobs"][0] is None
        c["logprobs"]["token_logprobs"][0], c["logprobs"]["top_logprobs"][0] = 0, {}
    valid("CreateCompletionResponse", told)
    assert [c.index for c in r.choices] == [0, 1, 2, 3]
    assert r.choices[0].text.startswith("The nurse") and r.choices[2].text.startswith("A welder")
    lp = r.choices[0].logprobs
    assert lp.token_logprobs[0] is None and len(lp.tokens) == len(lp.token_logprobs) == len(lp.text_offset) == len(lp.top_logprobs)
    assert "".join(lp.tokens) == r.choices[0].text
    for token, at in zip(lp.tokens, lp.text_offset): assert r.choices[0].text[at : at + len(token)] == token
    ids = client.completions.create(model=MODEL, prompt=[504, 28741], max_tokens=2, temperature=0)
    assert ids.usage.prompt_tokens == 2
    only = client.completions.create(model=MODEL, prompt="The nurse", max_tokens=0, echo=True, logprobs=0)
    assert only.choices[0].text == "The nurse" and only.usage.completion_tokens == 0


def test_completions_streamed(client):
    whole = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=16, temperature=0, logprobs=1)
    text, tokens, offsets = "", [], []
    for chunk in client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=16, temperature=0, logprobs=1, stream=True):
        text += chunk.choices[0].text
        if chunk.choices[0].logprobs:
            tokens += chunk.choices[0].logprobs.tokens
            offsets += chunk.choices[0].logprobs.text_offset
    assert text == whole.choices[0].text
    assert tokens == whole.choices[0].logprobs.tokens and offsets == whole.choices[0].logprobs.text_offset


def test_best_of(client):
    r = client.completions.create(model=MODEL, prompt="The nurse", max_tokens=8, temperature=1, seed=5, n=1, best_of=4)
    assert len(r.choices) == 1 and r.usage.completion_tokens > 8  # all candidates count
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model=MODEL, prompt="x", n=4, best_of=2)
    with pytest.raises(openai.BadRequestError) as e:
        client.completions.create(model=MODEL, prompt="x", suffix="y")
    assert e.value.param == "suffix"


def test_embeddings(server, client, valid):
    r = client.embeddings.create(model=MODEL, input=["a nurse works in a hospital", "a nurse works in a clinic", "kernel panic at boot"], encoding_format="float")
    valid("CreateEmbeddingResponse", r)
    a, b, c = (x.embedding for x in r.data)
    dot = lambda x, y: sum(p * q for p, q in zip(x, y))
    assert abs(dot(a, a) - 1) < 1e-5 and dot(a, b) > dot(a, c)
    body = {"model": MODEL, "input": "a nurse works in a hospital", "encoding_format": "base64", "dimensions": 64}
    req = urllib.request.Request(server.url + "/v1/embeddings", json.dumps(body).encode(), {"content-type": "application/json"})
    v = struct.unpack("<64f", base64.b64decode(json.load(urllib.request.urlopen(req))["data"][0]["embedding"]))
    norm = math.sqrt(dot(a[:64], a[:64]))
    assert all(abs(x - y / norm) < 1e-5 for x, y in zip(v, a))


def test_models(client, valid):
    r = client.models.list()
    for m in r.data: valid("Model", m)
    assert MODEL in [m.id for m in r.data]
    valid("Model", client.models.retrieve(MODEL))
    with pytest.raises(openai.NotFoundError): client.models.retrieve("nothing")
    with pytest.raises(openai.PermissionDeniedError): client.models.delete(MODEL)


def test_files(client, valid, train_file):
    f = client.files.create(file=open(train_file, "rb"), purpose="fine-tune")
    valid("OpenAIFile", f)
    valid("OpenAIFile", client.files.retrieve(f.id))
    assert client.files.content(f.id).read() == open(train_file, "rb").read()
    listed = client.files.list(purpose="fine-tune", limit=1)
    assert listed.data[0].id == f.id
    for x in listed.data: valid("OpenAIFile", x)
    assert client.files.delete(f.id).deleted
    with pytest.raises(openai.NotFoundError): client.files.retrieve(f.id)
    with pytest.raises(openai.BadRequestError) as e: client.files.create(file=open(train_file, "rb"), purpose="nonsense")
    assert e.value.param == "purpose"


def finished(client, job, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.status in ("succeeded", "failed", "cancelled"): return job
        time.sleep(0.2)
    raise AssertionError(f"the job is still {job.status}")


def test_fine_tuning(server, client, valid, train_file):
    f = client.files.create(file=open(train_file, "rb"), purpose="fine-tune")
    v = client.files.create(file=open(train_file, "rb"), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=f.id, validation_file=v.id, suffix="hr-1", seed=5, hyperparameters={"n_epochs": 1, "batch_size": 4}, metadata={"team": "hr"})
    valid("FineTuningJob", job)
    assert job.status == "validating_files"
    # events as they happen, until the job has ended
    lines = []
    with urllib.request.urlopen(f"{server.url}/v1/fine_tuning/jobs/{job.id}/events?stream=true", timeout=300) as r:
        assert r.headers["content-type"].startswith("text/event-stream")
        for line in r:
            if line.startswith(b"data: {"): lines.append(json.loads(line[6:]))
            if line.startswith(b"data: [DONE]"): break
    done = finished(client, job)
    valid("FineTuningJob", done)
    assert done.status == "succeeded", done.error
    folder = pathlib.Path(server.home) / "job" / job.id
    end = time.monotonic() + 30  # it is removed beside the loop, after the job says that it succeeded
    while folder.exists() and time.monotonic() < end: time.sleep(0.05)
    assert not folder.exists()
    assert done.fine_tuned_model.startswith(f"ft:{MODEL}:org:hr-1:") and done.trained_tokens > 0
    assert done.hyperparameters.n_epochs == 1 and isinstance(done.hyperparameters.learning_rate_multiplier, (int, float))
    events = client.fine_tuning.jobs.list_events(job.id, limit=1000).data
    for e in events: valid("FineTuningJobEvent", e)
    assert sorted(e["id"] for e in lines) == sorted(e.id for e in events)
    assert sum(e.type == "metrics" for e in events) == 6
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id).data
    for c in checkpoints: valid("FineTuningJobCheckpoint", c)
    assert checkpoints[0].metrics.full_valid_loss > 0
    for x in client.fine_tuning.jobs.list(limit=5).data: valid("FineTuningJob", x)
    csv = client.files.content(done.result_files[0]).read().decode().splitlines()
    assert csv[0].startswith("step,train_loss") and len(csv) == 7
    for name in (done.fine_tuned_model, checkpoints[0].fine_tuned_model_checkpoint):
        r = client.chat.completions.create(model=name, messages=[{"role": "user", "content": "Row 3: what does a nurse do?"}], temperature=0, max_tokens=16)
        assert r.model == name and r.choices[0].message.content
    assert client.models.delete(done.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError): client.chat.completions.create(model=done.fine_tuned_model, messages=[{"role": "user", "content": "x"}])


def test_bad_rows_are_named_by_line(client, tmp_path):
    path = tmp_path / "bad.jsonl"
    good = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    path.write_text("\n".join([good, "{broken", good, json.dumps({"messages": [{"role": "user", "content": "a"}]})]) + "\n")
    f = client.files.create(file=open(path, "rb"), purpose="fine-tune")
    job = finished(client, client.fine_tuning.jobs.create(model=MODEL, training_file=f.id))
    assert job.status == "failed" and job.error.code == "invalid_training_file" and job.error.param == "training_file"
    assert "2" in job.error.message and "4" in job.error.message


def test_bad_jobs(client, train_file):
    f = client.files.create(file=open(train_file, "rb"), purpose="fine-tune")
    for change, param in [({"model": "nothing"}, "model"), ({"training_file": "file-none"}, "training_file"), ({"suffix": "a b"}, "suffix"), ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs")]:
        with pytest.raises(openai.BadRequestError) as e: client.fine_tuning.jobs.create(**{"model": MODEL, "training_file": f.id, **change})
        assert e.value.param == param
    with pytest.raises(openai.NotFoundError): client.fine_tuning.jobs.retrieve("ftjob-none")


def test_cancel(client, train_file):
    f = client.files.create(file=open(train_file, "rb"), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=f.id, hyperparameters={"n_epochs": 50, "batch_size": 1})
    time.sleep(1)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert finished(client, job).status == "cancelled"
    with pytest.raises(openai.BadRequestError): client.fine_tuning.jobs.cancel(job.id)


def test_health_and_metrics(server):
    assert server.get("/livez")[0] == 200 and server.get("/readyz")[0] == 200
    text = server.get("/metrics")[1]
    assert "vllm:generation_tokens_total{" in text and "hone_time_to_first_token_seconds_bucket{" in text
    tool = shutil.which("promtool")
    if not tool: pytest.skip("promtool is not installed")
    out = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, text=True)
    faults = [line for line in out.stderr.splitlines() if line and "vllm:" not in line]  # the twins keep their colon
    assert not faults, faults


def test_node_client(server, train_file):
    if not shutil.which("node") or not (E2E_DIR / "node_modules" / "openai").exists(): pytest.skip("node and its openai package are not installed")
    env = {**os.environ, "BASE_URL": server.url + "/v1", "MODEL": MODEL, "TRAIN": train_file}
    out = subprocess.run(["node", str(HERE / "node" / "client.mjs")], env=env, capture_output=True, text=True, timeout=600)
    assert out.returncode == 0, out.stdout + out.stderr
