"""CPU of the controller for a request and for a streamed token."""
import os

from .common import row


def measure(b):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "controller_cpu.py")
    r = b.turns(hone=lambda: b.lines(b.python, script, b.hone, b.model("q4_1"))[-1])["hone"]
    request = next(k for k in r[0] if "request" in k and "us" in k)
    token = next(k for k in r[0] if "token" in k and "us" in k)
    yield row("controller's CPU, us a request", [x[request] for x in r], floor=150, less_is_better=True)
    yield row("controller's CPU, us a streamed token", [x[token] for x in r], floor=15, less_is_better=True)
