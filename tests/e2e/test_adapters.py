"""Adapters that come, go and change while others are served: many under a small budget, a name that changes hands, one that is broken
on disk, one that is removed while it answers."""
import json, pathlib, subprocess, sys, threading, time

import openai, pytest

from conftest import HERE, HONE, MODEL, Server

sys.path.insert(0, str(HERE.parents[1] / "bench"))
import make_adapters

COUNT = 6
QUESTION = "The three most common trades in a small town are"


def pull(home, folder, name):
    out = subprocess.run([HONE, "pull", str(folder), "--base", MODEL, "--as", name, "--home", home, "--json"], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["model"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Rank 8 on q and v; alpha makes each change the text at once."""
    base = tmp_path_factory.mktemp("adapters")
    for i in range(COUNT):
        make_adapters.write(base / str(i), make_adapters.SMOLLM2, 8, ["q_proj", "v_proj"], "bf16" if i % 2 else "f32", 77 + i, alpha=800)
    return base


@pytest.fixture(scope="module")
def house(home, tmp_path_factory):
    """A home folder of this file's own: two servers cannot share one."""
    folder = str(tmp_path_factory.mktemp("house"))
    shown = json.loads(subprocess.run([HONE, "show", MODEL, "--home", home, "--json"], check=True, capture_output=True, text=True).stdout)
    subprocess.run([HONE, "pull", shown["path"], "--as", MODEL, "--home", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def small(house, folders):
    """A server whose budget holds two of the adapters."""
    for i in range(COUNT): pull(house, folders / str(i), f"e2e-{i}")
    s = Server(house, "--model", MODEL, "--adapter-mb", "4").start()
    s.wait_ready()
    yield s
    assert s.stop() == 0


def text_of(server, model, n=24, question=QUESTION):
    with server.client() as c:
        return c.completions.create(model=model, prompt=question, max_tokens=n, temperature=0).choices[0].text


def in_threads(work, arguments):
    """work(*a) for every a at once; the results in order, the first exception raised."""
    result = [None] * len(arguments)

    def run(i):
        try: result[i] = work(*arguments[i])
        except BaseException as e: result[i] = e

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(arguments))]
    for t in threads: t.start()
    for t in threads: t.join()
    for r in result:
        if isinstance(r, BaseException): raise r
    return result


def test_more_adapters_than_room_answer_as_alone(small):
    names = [f"e2e-{i}" for i in range(COUNT)] + [MODEL]
    alone = {n: text_of(small, n) for n in names}
    assert len(set(alone.values())) == len(names)  # they do differ
    for n, text in zip(names * 3, in_threads(text_of, [(small, n) for n in names * 3])): assert text == alone[n], n


def test_a_name_changes_hands_between_replies_and_never_within_one(small, house, folders):
    one, two = text_of(small, "e2e-0", 48), text_of(small, "e2e-1", 48)
    pull(house, folders / "0", "e2e-task")
    stop, seen, bad = threading.Event(), [], []

    def ask():
        while not stop.is_set():
            try: text = text_of(small, "e2e-task", 48)
            except openai.OpenAIError as e: text = repr(e)
            (seen if text in (one, two) else bad).append(text)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads: t.start()
    for i in range(6):
        pull(house, folders / str(1 - i % 2), "e2e-task")
        assert text_of(small, "e2e-task", 48) == (one if i % 2 else two)  # from the next request on
    stop.set()
    for t in threads: t.join()
    assert not bad
    assert set(seen) == {one, two}


def test_a_broken_file_harms_its_own_requests_alone(small, house, folders, tmp_path):
    make_adapters.write(tmp_path / "x", make_adapters.SMOLLM2, 8, ["q_proj", "v_proj"], "f32", 4711, alpha=800)
    version = pull(house, tmp_path / "x", "e2e-broken")
    good = {n: text_of(small, n, 64) for n in ("e2e-2", MODEL)}
    stored = (tmp_path / "x" / "adapter_model.safetensors").read_bytes()
    [kept] = [p for p in pathlib.Path(house).rglob("*") if p.is_file() and p.stat().st_size == len(stored) and p.read_bytes() == stored]
    kept.chmod(0o600)
    kept.write_bytes(stored[:-4] + b"\x00\x00\xc0\x7f")  # the last number is NaN

    def ask(name):
        try: return text_of(small, name, 64)
        except openai.InternalServerError as e: return str(e)

    names = ["e2e-broken", "e2e-2", version, MODEL] * 3
    for name, got in zip(names, in_threads(ask, [(n,) for n in names])):
        if name in good: assert got == good[name]
        else: assert "not finite" in got
    kept.write_bytes(stored)  # and once it is whole again, it answers
    assert len(text_of(small, "e2e-broken")) > 0


def test_an_adapter_is_removed_while_it_answers(small, house, folders):
    version = pull(house, folders / "3", "e2e-gone")
    whole = text_of(small, version, 96)
    with small.client() as c:
        stream = c.completions.create(model=version, prompt=QUESTION, max_tokens=96, temperature=0, stream=True)
        text = next(stream).choices[0].text
        subprocess.run([HONE, "rm", version, "--home", house], check=True, capture_output=True)
        text += "".join(chunk.choices[0].text for chunk in stream if chunk.choices)
        assert text == whole
        with pytest.raises(openai.NotFoundError): c.completions.create(model=version, prompt=QUESTION, max_tokens=1)
        with pytest.raises(openai.NotFoundError): c.completions.create(model="e2e-gone", prompt=QUESTION, max_tokens=1)


def test_a_new_adapter_is_callable_at_once(small, house, folders, tmp_path):
    """Registered while eight streams run: its first reply comes within 20 s; how long the streams waited for a token is printed."""
    gaps, stop = [], threading.Event()

    def stream():
        with small.client() as c:
            last = None
            for _ in c.completions.create(model=MODEL, prompt=QUESTION, max_tokens=400, temperature=1, seed=5, stream=True, extra_body={"ignore_eos": True}):
                now = time.monotonic()
                if last and not stop.is_set(): gaps.append(now - last)
                last = now
                if stop.is_set(): break

    threads = [threading.Thread(target=stream) for _ in range(8)]
    for t in threads: t.start()
    time.sleep(1)
    make_adapters.write(tmp_path / "new", make_adapters.SMOLLM2, 16, ["q_proj", "v_proj"], "f32", 5, alpha=16)
    begin = time.monotonic()
    pull(house, tmp_path / "new", "e2e-new")
    registered = time.monotonic()
    text_of(small, "e2e-new", 1)
    answered = time.monotonic()
    stop.set()
    for t in threads: t.join()
    print(f"registered after {registered - begin:.3f} s, first reply {answered - registered:.3f} s later; gaps: median {sorted(gaps)[len(gaps) // 2]:.4f} s, most {max(gaps):.4f} s")
    assert answered - begin < 20
