import json, threading, time, urllib.request

import openai, pytest

from conftest import MODEL

ASK = [{"role": "user", "content": "List three jobs in a hospital."}]


def collect(stream, valid=None):
    text, finish, usage = "", None, None
    for chunk in stream:
        if valid: valid("CreateChatCompletionStreamResponse", chunk)
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        usage = chunk.usage or usage
    return text, finish, usage


def test_whole_and_streamed_agree(client, valid):
    whole = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_completion_tokens=24)
    valid("CreateChatCompletionResponse", whole)
    assert whole.choices[0].message.content and whole.model == MODEL and whole.system_fingerprint.startswith("fp_")
    text, finish, usage = collect(client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_completion_tokens=24, stream=True, stream_options={"include_usage": True}), valid)
    assert text == whole.choices[0].message.content and finish == whole.choices[0].finish_reason
    assert usage.completion_tokens == whole.usage.completion_tokens and usage.prompt_tokens == whole.usage.prompt_tokens


def test_seed_repeats_and_n_differs(client, valid):
    one = client.chat.completions.create(model=MODEL, messages=ASK, temperature=1, seed=7, max_tokens=20, n=3)
    two = client.chat.completions.create(model=MODEL, messages=ASK, temperature=1, seed=7, max_tokens=20, n=3)
    valid("CreateChatCompletionResponse", one)
    assert [c.message.content for c in one.choices] == [c.message.content for c in two.choices]
    assert len({c.message.content for c in one.choices}) > 1
    assert [c.index for c in one.choices] == [0, 1, 2]


def test_logprobs(client, valid):
    r = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=8, logprobs=True, top_logprobs=5)
    valid("CreateChatCompletionResponse", r)
    content = r.choices[0].logprobs.content
    assert "".join(t.token for t in content) == r.choices[0].message.content
    for t in content:
        assert len(t.top_logprobs) == 5 and t.top_logprobs[0].token == t.token and t.logprob <= 0
        assert bytes(t.bytes).decode() == t.token
    streamed = []
    for chunk in client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=8, logprobs=True, top_logprobs=5, stream=True):
        if chunk.choices and chunk.choices[0].logprobs: streamed += chunk.choices[0].logprobs.content
    assert [(t.token, t.logprob) for t in streamed] == [(t.token, t.logprob) for t in content]


def test_stop_strings_over_token_borders(client):
    free = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=40).choices[0].message.content
    for begin in range(4, min(len(free) - 5, 30), 5):
        stop = free[begin : begin + 5]
        r = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=40, stop=[stop, "never this"])
        assert r.choices[0].message.content == free[: free.index(stop)] and r.choices[0].finish_reason == "stop"
        text, finish, _ = collect(client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=40, stop=stop, stream=True))
        assert text == free[: free.index(stop)] and finish == "stop"


def test_bias_and_extensions(client):
    free = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=1, logprobs=True, extra_body={"ignore_eos": True})
    assert free.choices[0].finish_reason == "length"
    extra = {"top_k": 1, "min_p": 0.0, "repetition_penalty": 1.0, "min_tokens": 3, "chat_template_kwargs": {}}
    a = client.chat.completions.create(model=MODEL, messages=ASK, temperature=1, seed=3, max_tokens=12, extra_body=extra)
    b = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=12)
    assert a.choices[0].message.content == b.choices[0].message.content  # top_k 1 is greedy
    r = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=5, logit_bias={"28": 100})
    assert r.usage.completion_tokens == 5 and len(set(r.choices[0].message.content)) <= 2


def test_metadata_and_ignored_names(client, valid):
    r = client.chat.completions.create(model=MODEL, messages=[{"role": "developer", "content": "Be brief."}, *ASK], max_tokens=4, metadata={"team": "hr"}, user="u1")
    valid("CreateChatCompletionResponse", r)
    parts = [{"role": "user", "content": [{"type": "text", "text": "List three jobs "}, {"type": "text", "text": "in a hospital."}]}]
    a = client.chat.completions.create(model=MODEL, messages=parts, temperature=0, max_tokens=8)
    b = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=8)
    assert a.choices[0].message.content == b.choices[0].message.content


@pytest.mark.parametrize(
    "change, status, param, code",
    [
        ({"temperature": 2.5}, 400, "temperature", "decimal_above_max_value"),
        ({"temperature": "hot"}, 400, "temperature", "invalid_type"),
        ({"n": 0}, 400, "n", "integer_below_min_value"),
        ({"colour": 1}, 400, "colour", "unknown_parameter"),
        ({"messages": []}, 400, "messages", "array_below_min_length"),
        ({"messages": [{"role": "king", "content": "x"}]}, 400, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, 400, "messages[0].content", "invalid_value"),
        ({"model": "no-such-model"}, 404, "model", "model_not_found"),
        ({"model": None}, 400, "model", "missing_required_parameter"),
        ({"max_tokens": 100000}, 400, "messages", "context_length_exceeded"),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop", "array_above_max_length"),
        ({"logit_bias": {"x": 1}}, 400, "logit_bias", "invalid_value"),
        ({"store": True}, 400, "store", "unsupported_value"),
        ({"verbosity": "low"}, 400, "verbosity", "unsupported_value"),
        ({"reasoning_effort": "huge"}, 400, "reasoning_effort", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options", "invalid_value"),
        ({"top_logprobs": 3}, 400, "top_logprobs", "unsupported_value"),
        ({"functions": []}, 400, "functions", "array_below_min_length"),
    ],
)
def test_errors_have_four_fields(server, valid, change, status, param, code):
    body = {"model": MODEL, "messages": ASK, **change}
    req = urllib.request.Request(server.url + "/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(req, timeout=30)
    assert e.value.code == status and e.value.headers["x-request-id"]
    error = json.loads(e.value.read())
    valid("ErrorResponse", error)
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert (error["error"]["param"], error["error"]["code"]) == (param, code)


def test_context_error_names_both_numbers(client):
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 9000}])
    assert e.value.code == "context_length_exceeded" and "8192" in e.value.message


def free_pages(server):
    return [line for line in server.get("/metrics")[1].splitlines() if line.startswith("hone_kv_pages_free{")]


def test_a_client_that_leaves_frees_its_place(server, client):
    client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=1)
    time.sleep(0.3)  # the copy tells its figures ten times a second
    before = free_pages(server)  # pinned prefixes of other tests are not free
    stream = client.chat.completions.create(model=MODEL, messages=ASK, stream=True, max_tokens=2000, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    for _ in range(100):
        text = server.get("/metrics")[1]
        running = [line for line in text.splitlines() if line.startswith("hone_requests_running{")]
        if all(line.endswith(" 0") for line in running) and free_pages(server) == before: return
        time.sleep(0.1)
    raise AssertionError("its pages are still taken: " + "; ".join(running + before + free_pages(server)))


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_among_sixteen_others_equals_alone(client, temperature):
    ask = lambda m: client.chat.completions.create(model=MODEL, messages=m, temperature=temperature, seed=11, max_tokens=24).choices[0].message.content
    alone = ask(ASK)
    got = [None] * 17

    def one(i):
        got[i] = ask(ASK if i == 8 else [{"role": "user", "content": f"Tell me about number {i}. " * (i * 5 + 1)}])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(17)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert got[8] == alone and all(got)
