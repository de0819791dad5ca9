"""What dies, and what a client notices of it: nothing, or a clear error."""
import json, os, signal, subprocess, threading, time

import openai, pytest

from conftest import HONE, MODEL, Server

ASK = [{"role": "user", "content": "Write a long story about a baker and a welder."}]


def story(client, temperature, on_chunk=lambda n: None):
    text, n = "", 0
    for chunk in client.chat.completions.create(model=MODEL, messages=ASK, temperature=temperature, seed=42, max_tokens=160, stream=True, extra_body={"ignore_eos": True}):
        if chunk.choices and chunk.choices[0].delta.content:
            text += chunk.choices[0].delta.content
            n += 1
            on_chunk(n)
    return text


@pytest.mark.parametrize("temperature", [0, 0.9])
def test_a_killed_copy_is_not_noticed(server, client, temperature):
    wanted = story(client, temperature)
    killed = []

    def kill_at(n):
        if n in (20, 90) and len(killed) < 2:
            for pid in server.copies():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    assert story(client, temperature, kill_at) == wanted
    assert len(killed) == 2


def test_other_thread_counts_give_the_same_bytes(server, client, home, tmp_path):
    wanted = [story(client, 0), story(client, 0.9)]
    other = str(tmp_path / "other")
    shown = json.loads(subprocess.run([HONE, "show", MODEL, "--home", home, "--json"], check=True, capture_output=True, text=True).stdout)
    subprocess.run([HONE, "pull", shown["path"], "--as", MODEL, "--home", other], check=True)
    for threads in ("1", "3"):
        s = Server(other, "--model", MODEL, "--threads", threads).start()
        try:
            s.wait_ready()
            assert [story(s.client(), 0), story(s.client(), 0.9)] == wanted
        finally:
            assert s.stop() == 0


def test_a_second_controller_is_refused_with_the_pid(server, home):
    out = subprocess.run([HONE, "serve", "--home", home, "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=30)
    assert out.returncode == 1 and str(server.process.pid) in out.stderr


def test_a_port_in_use_is_named(server, tmp_path):
    out = subprocess.run([HONE, "serve", "--home", str(tmp_path / "h"), "--listen", f"127.0.0.1:{server.port}"], capture_output=True, text=True, timeout=30)
    assert out.returncode == 1 and str(server.port) in out.stderr


def test_other_addresses_need_a_key(tmp_path):
    home = str(tmp_path / "h")
    out = subprocess.run([HONE, "serve", "--home", home, "--listen", "0.0.0.0:0"], capture_output=True, text=True, timeout=30)
    assert out.returncode == 1 and "hone key add" in out.stderr
    made = json.loads(subprocess.run([HONE, "key", "add", "test", "--home", home, "--json"], check=True, capture_output=True, text=True).stdout)
    s = Server(home, "--require-key").start()
    try:
        with pytest.raises(openai.AuthenticationError): s.client().models.list()
        good = openai.OpenAI(base_url=s.url + "/v1", api_key=made["secret"] if "secret" in made else made["key"], max_retries=0)
        assert good.models.list().data == []
    finally:
        assert s.stop() == 0


def test_a_killed_trainer_and_a_killed_controller_end_in_one_digest(home, train_file, tmp_path):
    """One undisturbed run, one whose trainer and whose controller are killed: the same adapter."""
    shown = json.loads(subprocess.run([HONE, "show", MODEL, "--home", home, "--json"], check=True, capture_output=True, text=True).stdout)
    digests = []
    for disturbed in (False, True):
        folder = str(tmp_path / f"h{disturbed}")
        subprocess.run([HONE, "pull", shown["path"], "--as", MODEL, "--home", folder], check=True)
        s = Server(folder).start()
        c = s.client()
        f = c.files.create(file=open(train_file, "rb"), purpose="fine-tune")
        job = c.fine_tuning.jobs.create(model=MODEL, training_file=f.id, seed=3, hyperparameters={"n_epochs": 2, "batch_size": 2})
        kills = 0
        end = time.monotonic() + 300
        while time.monotonic() < end:
            now = s.client().fine_tuning.jobs.retrieve(job.id)
            if now.status in ("succeeded", "failed"): break
            steps = sum(e.type == "metrics" for e in s.client().fine_tuning.jobs.list_events(job.id, limit=1000).data)
            if disturbed and kills == 0 and steps >= 4:
                for pid in s.workers(): os.kill(pid, signal.SIGKILL)
                kills = 1
            elif disturbed and kills == 1 and steps >= 9:
                s.kill()
                s = Server(folder).start()
                kills = 2
            time.sleep(0.05)
        assert now.status == "succeeded", now.error
        assert not disturbed or kills == 2
        r = s.client().chat.completions.create(model=now.fine_tuned_model, messages=ASK, temperature=0, max_tokens=4)
        assert r.choices[0].message.content is not None
        assert s.stop() == 0
        import sqlite3
        db = sqlite3.connect(os.path.join(folder, "hone.db"))
        digests += [row[0] for row in db.execute("select weights_digest from version")]
    assert len(digests) == 2 and digests[0] == digests[1]


def test_stopping_lets_streams_end(home, tmp_path):
    shown = json.loads(subprocess.run([HONE, "show", MODEL, "--home", home, "--json"], check=True, capture_output=True, text=True).stdout)
    folder = str(tmp_path / "h")
    subprocess.run([HONE, "pull", shown["path"], "--as", MODEL, "--home", folder], check=True)
    s = Server(folder, "--model", MODEL).start()
    s.wait_ready()
    started, got = threading.Event(), []

    def one():
        got.append(story(s.client(), 0, lambda n: started.set()))

    t = threading.Thread(target=one)
    t.start()
    assert started.wait(60)
    s.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    with pytest.raises(openai.APIStatusError) as e: s.client().models.list()
    assert e.value.status_code == 503 and e.value.response.headers["retry-after"]
    t.join(120)
    assert len(got) == 1 and len(got[0]) > 100
    assert s.process.wait(60) == 0
