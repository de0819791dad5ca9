"""From the start of a process to its first token, tiles cached and page cache warm: hone run, and hone serve."""
import json, os, subprocess, tempfile, time

from .common import free_port, row


def measure(b):
    home, model = tempfile.mkdtemp(dir=b.folder), b.model("q4_1")

    def run():
        t0 = time.perf_counter()
        p = subprocess.Popen([b.hone, "run", "--home", home, model, "Hello"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        p.stdout.read(1)
        took = time.perf_counter() - t0
        p.kill()
        p.wait()
        return took

    def serve():
        import socket
        port = free_port()
        t0 = time.perf_counter()
        p = subprocess.Popen([b.hone, "serve", "--home", home + "/s", "--listen", f"127.0.0.1:{port}", "--model", "m"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        body = json.dumps(dict(model="m", messages=[{"role": "user", "content": "Hello"}], stream=True, max_tokens=4)).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        try:
            while True:  # as soon as it listens
                try:
                    s = socket.create_connection(("127.0.0.1", port))
                    break
                except OSError:
                    time.sleep(0.002)
            s.sendall(head + body)
            data = b""
            while data.count(b'"content":"') - data.count(b'"content":""') < 1:
                piece = s.recv(1 << 16)
                assert piece, data
                data += piece
            return time.perf_counter() - t0
        finally:
            p.terminate()
            p.wait()

    subprocess.run([b.hone, "pull", model, "--as", "m", "--home", home + "/s"], check=True, capture_output=True)
    run(), serve()  # lays the tiles
    r = b.turns(run=run, serve=serve)
    yield row("process start to first token, s: hone run", r["run"], floor=0.3, less_is_better=True)
    yield row("  hone serve, a request as soon as it listens", r["serve"], floor=0.3, less_is_better=True)
