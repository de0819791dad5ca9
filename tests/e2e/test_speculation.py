"""Drafts and grammars: whatever was drafted, forced or lost on the way, the text is the same."""
import json, os, re, signal

from conftest import MODEL

POST = "The bakery in Aarhus is looking for a baker who starts at 04:30 and speaks Danish. Write to jobs@example.org before 2026-12-01."
QUOTE = [{"role": "user", "content": f"{POST}\n\nRepeat the text above, word for word."}]
GRAMMAR = 'root ::= "{\\"name\\": \\"" [A-Za-z ]{1,40} "\\", \\"starts\\": \\"" [0-9]{2} ":" [0-9]{2} "\\", \\"languages\\": [\\"" [A-Za-z]{2,12} "\\"]}"'


def ask(client, messages=QUOTE, **more):
    extra = more.pop("extra_body", {})
    r = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=more.pop("max_tokens", 80), seed=7, extra_body=extra, **more)
    return r.choices[0], r.usage


def test_drafts_and_predictions_give_the_same_text(client):
    for temperature in (0, 0.8):
        plain, _ = ask(client, temperature=temperature, extra_body={"speculative": False})
        drafted, _ = ask(client, temperature=temperature)
        truth, usage = ask(client, temperature=temperature, prediction={"type": "content", "content": plain.message.content})
        wrong, other = ask(client, temperature=temperature, prediction={"type": "content", "content": "Nobody would ever say this. " * 20})
        assert drafted.message.content == truth.message.content == wrong.message.content == plain.message.content
        assert drafted.finish_reason == truth.finish_reason == wrong.finish_reason == plain.finish_reason
        assert usage.completion_tokens_details.accepted_prediction_tokens > 10
        assert usage.completion_tokens == other.completion_tokens


def test_log_probabilities_are_the_same_among_drafts(client):
    def told(**more):
        choice, _ = ask(client, temperature=0, logprobs=True, top_logprobs=3, **more)
        return [(t.token, t.logprob, [(x.token, x.logprob) for x in t.top_logprobs]) for t in choice.logprobs.content]

    plain = told(extra_body={"speculative": False})
    assert told(prediction={"type": "content", "content": POST}) == plain


def test_a_grammar_with_and_without_drafts_and_log_probabilities(client):
    body = {"structured_outputs": {"grammar": GRAMMAR}}
    for temperature in (0, 1.2):
        plain, usage = ask(client, temperature=temperature, extra_body={**body, "speculative": False})
        v = json.loads(plain.message.content)
        assert list(v) == ["name", "starts", "languages"] and re.fullmatch(r"\d\d:\d\d", v["starts"])
        drafted, _ = ask(client, temperature=temperature, extra_body=body)
        told, again = ask(client, temperature=temperature, logprobs=True, extra_body=body)
        assert drafted.message.content == told.message.content == plain.message.content
        assert usage.completion_tokens == again.completion_tokens
        assert plain.finish_reason == "stop"


def test_a_copy_killed_amid_a_grammar_is_not_noticed(server, client):
    body = {"structured_outputs": {"grammar": 'root ::= ("row " [0-9]{1,3} ": " [a-z]{3,9} "\\n"){24}'}}

    def rows(on_chunk=lambda n: None):
        text, n = "", 0
        for chunk in client.chat.completions.create(model=MODEL, messages=QUOTE, temperature=0.9, seed=5, max_tokens=400, stream=True, extra_body=body):
            if chunk.choices and chunk.choices[0].delta.content:
                text += chunk.choices[0].delta.content
                n += 1
                on_chunk(n)
        return text

    wanted = rows()
    assert re.fullmatch(r"(row \d{1,3}: [a-z]{3,9}\n){24}", wanted)
    killed = []

    def kill_at(n):
        if len(killed) < 2 and n >= (8, 40)[len(killed)]:
            for pid in server.copies():  # none while the next one starts: then at a later chunk
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    assert rows(kill_at) == wanted
    assert len(killed) == 2
