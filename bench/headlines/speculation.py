"""Free speculation: one stream with drafts beside the same stream without, on answers that quote their prompt, on rows of
JSON and on chat.  The tokens must be the same."""
import json, os, time, urllib.request

from .common import Skip, get, row

TOKENS = 96
CHAT = [
    "What makes bread rise?", "Write a short poem about the sea.", "Explain why the sky is blue.",
    "Give me three tips for a job interview.", "What is the difference between a lake and a pond?",
    "Tell me a story about a clock.", "How do plants drink?", "Describe a good manager.",
]


def stream(server, path, body):
    """(text, tokens a second after the first)"""
    body = dict({"max_tokens": TOKENS}, **body, stream=True, temperature=0, stream_options={"include_usage": True})
    text, first, n = [], None, 0
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as r:
        for line in r:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                n = chunk["usage"]["completion_tokens"]
            for c in chunk["choices"]:
                piece = c.get("text") or c.get("delta", {}).get("content")
                if piece:
                    first = first or time.perf_counter()
                    text.append(piece)
    return "".join(text), (n - 1) / (time.perf_counter() - first) if first and n > 8 else None


def postings(b):
    path = os.path.join(b.shared, "data", "hr", "usajobs", "jobs_labor.json")
    if not os.path.exists(path):
        raise Skip("HONE_SHARED has no data/hr/usajobs")
    keys = ["position_title", "agency", "subagency", "appointment_type", "open_date", "close_date", "usajobs_url"]
    return [{k: r[k] for k in keys} for r in json.load(open(path)) if all(r.get(k) for k in keys)]


def prose(r):
    return (f"{r['agency']} ({r['subagency']}) is looking for a {r['position_title']}. The appointment is {r['appointment_type']}; "
            f"applications are taken from {r['open_date']} until {r['close_date']} at {r['usajobs_url']}.")


def as_json(rows):
    """Postings as prose, then the same as rows of JSON: the model goes on with the rows of the last three."""
    done, todo = rows[:2], rows[2:5]
    text = "".join(f"Postings: {prose(r)}\nRows: {json.dumps(r)}\n" for r in done)
    return text + "Postings: " + " ".join(map(prose, todo)) + "\nRows: {"


def as_quotes(rows):
    """The posting's own sentences, one a line."""
    text = " ".join(map(prose, rows[:3]))
    return f"Text: {text}\n\nThe text again, word for word:\n{prose(rows[0])[:40]}"


def measure(b):
    s = b.serve(model=b.model("q4_1"))
    model, rows = json.loads(get(s.url + "/v1/models")[1])["data"][0]["id"], postings(b)
    kinds = [
        ("extraction, quoted", "/v1/completions", [{"prompt": as_quotes(rows[i * 5:])} for i in range(4)], 1.7),
        ("rows of JSON", "/v1/completions", [{"prompt": as_json(rows[i * 5:])} for i in range(4)], 1.7),
        ("chat", "/v1/chat/completions", [{"messages": [{"role": "user", "content": q}]} for q in CHAT], 0.97),
    ]
    for name, path, bodies, floor in kinds:
        drafted, plain = [], []
        for body in bodies:
            stream(s, path, dict(body, model=model, max_tokens=1))  # the prompt is in the prefix tree for both
            with_drafts, fast = stream(s, path, dict(body, model=model))
            without, slow = stream(s, path, dict(body, model=model, speculative=False))
            if with_drafts != without:
                raise RuntimeError(f"{name}: the text with drafts is another one:\n{with_drafts}\n{without}")
            if fast and slow:
                drafted.append(fast)
                plain.append(slow)
        yield row(f"one stream with drafts, tokens/s, {name}: without", drafted, plain, floor=floor)
