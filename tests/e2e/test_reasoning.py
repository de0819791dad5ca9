"""Reasoning, with a template that opens it: the model's own file with another chat template of the same length in it."""
import struct, subprocess

import pytest

from conftest import HONE, MODEL

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{m.role}}\n{{m.content}}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "<think>\n{% if enable_thinking is defined and not enable_thinking %}\n</think>\n\n{% endif %}{% endif %}"
)
ASK = [{"role": "user", "content": "List three jobs in a hospital."}]


@pytest.fixture(scope="session")
def thinker(server, tmp_path_factory):
    import json
    path = json.loads(subprocess.run([HONE, "show", MODEL, "--home", server.home, "--json"], check=True, capture_output=True, text=True).stdout)["path"]
    data = bytearray(open(path, "rb").read())
    at = data.find(b"tokenizer.chat_template") + len(b"tokenizer.chat_template")
    kind, n = struct.unpack_from("<IQ", data, at)
    assert kind == 8 and n >= len(TEMPLATE)
    data[at + 12 : at + 12 + n] = TEMPLATE.encode() + b"{#" + b" " * (n - len(TEMPLATE) - 4) + b"#}"
    file = tmp_path_factory.mktemp("thinker") / "thinker.gguf"
    file.write_bytes(data)
    subprocess.run([HONE, "pull", str(file), "--as", "thinker", "--home", server.home], check=True)
    return "thinker"


def ask(client, model, **more):
    return client.chat.completions.create(model=model, messages=ASK, max_tokens=24, **{"temperature": 0, **more})


def test_reasoning_is_split_off_and_counted(client, thinker, valid):
    r = ask(client, thinker)
    valid("CreateChatCompletionResponse", r)
    m, details = r.choices[0].message, r.usage.completion_tokens_details
    assert m.reasoning_content and m.content == "" and r.choices[0].finish_reason in ("length", "stop")
    assert details.reasoning_tokens == r.usage.completion_tokens
    text = ""
    for chunk in ask(client, thinker, stream=True):
        valid("CreateChatCompletionStreamResponse", chunk)
        delta = chunk.choices[0].delta
        assert not delta.content
        text += getattr(delta, "reasoning_content", None) or ""
    assert text == m.reasoning_content


@pytest.mark.parametrize("more", [{"reasoning_effort": "none"}, {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}])
def test_a_template_that_can_be_silent(client, thinker, more):
    r = ask(client, thinker, **more)
    assert r.choices[0].message.content and r.usage.completion_tokens_details.reasoning_tokens == 0
    assert not getattr(r.choices[0].message, "reasoning_content", None)


def test_a_form_is_the_content_s_and_comes_behind_it(client, thinker):
    """The pattern asks for no letter: what is written while the reasoning is open is not held to it."""
    form = {"guided_regex": "[0-9]{3}"}
    r = ask(client, thinker, extra_body=form)
    assert any(c.isalpha() for c in r.choices[0].message.reasoning_content)
    r = ask(client, thinker, reasoning_effort="none", extra_body=form)
    assert len(r.choices[0].message.content) == 3 and r.choices[0].message.content.isdigit()


def test_models_without_marks_have_no_reasoning(client):
    r = ask(client, MODEL)
    assert not getattr(r.choices[0].message, "reasoning_content", None) and r.usage.completion_tokens_details.reasoning_tokens == 0
