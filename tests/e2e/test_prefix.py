"""Prefixes: a second turn takes the first one's keys and values, says so, and reads the same; tenants' salts share nothing;
cold, warm and in a first wave of clients the text is that of a request without any cache."""
import threading

from conftest import MODEL

SYSTEM = "You answer in one sentence. " + " ".join(f"Rule {i}: a clerk in office {i} never signs form {i * 7}." for i in range(30))


def ask(client, messages, **more):
    extra = {k: more.pop(k) for k in ("cache_prompt", "cache_salt") if k in more}
    return client.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_tokens=24, logprobs=True, extra_body=extra, **more)


def cached(reply):
    return reply.usage.prompt_tokens_details.cached_tokens


def said(reply):
    return [(x.token, x.logprob) for x in reply.choices[0].logprobs.content]


def test_the_second_turn(client, valid):
    first = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "What does a nurse do?"}]
    one = ask(client, first, prompt_cache_key="second turn")
    second = first + [{"role": "assistant", "content": one.choices[0].message.content}, {"role": "user", "content": "And a welder?"}]
    cold = ask(client, second, cache_prompt=False)
    assert cached(cold) == 0
    warm = ask(client, second, prompt_cache_key="second turn")
    assert one.usage.prompt_tokens - 32 <= cached(warm) < warm.usage.prompt_tokens
    assert said(warm) == said(cold)
    valid("CreateChatCompletionResponse", warm)
    chunks = list(ask(client, second, stream=True, stream_options={"include_usage": True}, prompt_cache_key="second turn"))
    assert cached(chunks[-1]) >= cached(warm)
    assert [(x.token, x.logprob) for c in chunks if c.choices and c.choices[0].logprobs for x in c.choices[0].logprobs.content] == said(cold)
    # a stop string ends the request before the engine does; what was cached is known all the same
    stopped = ask(client, second, stop=[cold.choices[0].message.content.split()[1]], prompt_cache_key="second turn")
    assert cached(stopped) >= cached(warm)


def test_salts_are_apart(client):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Who signs form 14?"}]
    a = ask(client, messages, cache_salt="tenant a")
    b = ask(client, messages, cache_salt="tenant b")
    again = ask(client, messages, cache_salt="tenant b")
    assert cached(a) == cached(b) == 0 and cached(again) > 0
    assert said(a) == said(b) == said(again)


def test_a_first_wave_shares_its_system_prompt(client):
    jobs = ["nurse", "welder", "teacher", "baker", "driver", "clerk", "judge", "pilot"]
    turns = [[{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"What does a {j} do?"}] for j in jobs]
    replies = [None] * len(jobs)

    def one(i):
        replies[i] = ask(client, turns[i], cache_salt="wave")

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(jobs))]
    for t in threads: t.start()
    for t in threads: t.join()
    counts = sorted(map(cached, replies))
    assert counts[0] == 0 and counts[1] > 300  # one computed it, the others waited for that
    for i, turn in enumerate(turns):
        assert said(replies[i]) == said(ask(client, turn, cache_prompt=False))


def test_retention(client):
    messages = [{"role": "user", "content": SYSTEM}]
    assert cached(ask(client, messages, prompt_cache_retention="24h", cache_salt="pinned")) == 0
    assert cached(ask(client, messages, prompt_cache_retention="24h", cache_salt="pinned")) > 0
    completion = client.completions.create(model=MODEL, prompt=SYSTEM, max_tokens=2)
    again = client.completions.create(model=MODEL, prompt=SYSTEM, max_tokens=2)
    assert cached(completion) == 0 and cached(again) > 0
