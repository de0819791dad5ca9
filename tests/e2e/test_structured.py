"""Replies in a form that the request asks for, with the real model: it is small and hot, so what is valid is so by the grammar."""
import concurrent.futures, enum, json, random, re

import jsonschema, openai, pydantic, pytest

from conftest import MODEL

ASK = [{"role": "user", "content": "Describe a nurse as JSON."}]


def schema_format(schema, strict=False, name="reply"):
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": strict}}


def ask(client, **more):
    more.setdefault("max_tokens", 200)
    return client.chat.completions.create(model=MODEL, messages=more.pop("messages", ASK), **more)


class Shift(enum.Enum):
    day = "day"
    night = "night"


class Job(pydantic.BaseModel):
    model_config = {"extra": "forbid"}
    grade: int = pydantic.Field(ge=1, le=9)
    shift: Shift
    senior: bool
    codes: list[Shift] = pydantic.Field(min_length=1, max_length=3)


def test_pydantic_model_through_the_parse_helper(client, valid):
    for seed in range(3):
        r = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Job, temperature=2, seed=seed, max_tokens=120)
        assert isinstance(r.choices[0].message.parsed, Job) and r.choices[0].finish_reason == "stop"
    r = ask(client, response_format=schema_format(Job.model_json_schema()), n=3, seed=1, temperature=2)
    valid("CreateChatCompletionResponse", r)
    for c in r.choices: Job.model_validate_json(c.message.content)


def test_json_object(client):
    for seed in range(5):
        r = ask(client, response_format={"type": "json_object"}, temperature=0.7, seed=seed, max_tokens=300)
        if r.choices[0].finish_reason == "stop": assert isinstance(json.loads(r.choices[0].message.content), dict)
        else: assert r.choices[0].message.content.startswith("{")


def test_text_is_free(client):
    free = ask(client, temperature=0, max_tokens=12)
    assert ask(client, temperature=0, max_tokens=12, response_format={"type": "text"}).choices[0].message.content == free.choices[0].message.content


def random_schema(rng, depth=0):
    """A schema whose values are short, so that a hot model comes to an end."""
    kinds = ["string", "integer", "number", "boolean", "enum", "const", "null", "array", "object", "anyOf"]
    kind = rng.choice(kinds if depth < 3 else kinds[:7])
    if kind == "string": return {"type": "string", "minLength": rng.randint(0, 2), "maxLength": rng.randint(2, 8)}
    if kind == "integer": return {"type": "integer", "minimum": rng.randint(-50, 0), "maximum": rng.randint(1, 500)}
    if kind == "number": return {"type": "number", "minimum": rng.randint(-9, 0), "maximum": rng.randint(1, 99)}
    if kind in ("boolean", "null"): return {"type": kind}
    if kind == "enum": return {"enum": rng.sample(["red", "green", "blue", 1, 2.5, True, None, ["x"], {"k": 1}], 3)}
    if kind == "const": return {"const": rng.choice(["fixed", 7, {"a": [1]}])}
    if kind == "array": return {"type": "array", "items": random_schema(rng, depth + 1), "minItems": rng.randint(0, 1), "maxItems": rng.randint(1, 3)}
    if kind == "anyOf": return {"anyOf": [random_schema(rng, depth + 1) for _ in range(2)]}
    names = rng.sample(["name", "age", "tags", "size", "where", "a b", "é", "x\"y"], rng.randint(1, 4))
    return {"type": "object", "properties": {n: random_schema(rng, depth + 1) for n in names}, "required": rng.sample(names, rng.randint(0, len(names))), "additionalProperties": False}


def test_a_hundred_schemas_at_temperature_two(client):
    rng = random.Random(7)
    schemas = [{"type": "object", "properties": {"v": random_schema(rng)}, "required": ["v"], "additionalProperties": False} for _ in range(100)]

    def one(i):
        r = ask(client, response_format=schema_format(schemas[i]), temperature=2, seed=i, max_tokens=300)
        if r.choices[0].finish_reason == "length": return False
        value = json.loads(r.choices[0].message.content)
        jsonschema.Draft202012Validator(schemas[i]).validate(value)
        return True

    with concurrent.futures.ThreadPoolExecutor(16) as pool: whole = sum(pool.map(one, range(100)))
    assert whole >= 90, f"only {whole} of 100 came to an end"


def test_streamed_equals_whole_and_logprobs_fit(client, valid):
    form = schema_format(Job.model_json_schema())
    whole = ask(client, response_format=form, temperature=1.5, seed=5, logprobs=True, top_logprobs=2)
    text, tokens = "", []
    for chunk in ask(client, response_format=form, temperature=1.5, seed=5, logprobs=True, top_logprobs=2, stream=True):
        valid("CreateChatCompletionStreamResponse", chunk)
        text += chunk.choices[0].delta.content or ""
        if chunk.choices[0].logprobs: tokens += chunk.choices[0].logprobs.content
    assert text == whole.choices[0].message.content
    assert [t.token for t in tokens] == [t.token for t in whole.choices[0].logprobs.content]
    assert "".join(t.token for t in tokens) == text


def test_regex_choice_and_grammar_as_vllm_and_llama_cpp_ask(client):
    for extra, fits in [
        ({"guided_regex": "[A-Z]{3}-\\d{4}"}, lambda t: re.fullmatch("[A-Z]{3}-\\d{4}", t)),
        ({"structured_outputs": {"regex": "(yes|no)!{1,3}"}}, lambda t: re.fullmatch("(yes|no)!{1,3}", t)),
        ({"guided_choice": ["alpha", "beta gamma"]}, lambda t: t in ("alpha", "beta gamma")),
        ({"structured_outputs": {"choice": ["x\n", "\"y\""]}}, lambda t: t in ("x\n", "\"y\"")),
        ({"guided_grammar": "root ::= \"<\" [0-9]{2} \">\""}, lambda t: re.fullmatch("<\\d\\d>", t)),
        ({"grammar": "root ::= item (\", \" item)? \".\"\nitem ::= \"cat\" | \"dog\""}, lambda t: re.fullmatch("(cat|dog)(, (cat|dog))?\\.", t)),
        ({"json_schema": {"type": "integer", "minimum": 3, "maximum": 7}}, lambda t: 3 <= json.loads(t) <= 7),
        ({"guided_json": json.dumps({"enum": ["a", 1]})}, lambda t: json.loads(t) in ("a", 1)),
        ({"structured_outputs": {"json": {"type": "boolean"}}}, lambda t: json.loads(t) in (True, False)),
    ]:
        for seed in range(3):
            r = ask(client, temperature=2, seed=seed, max_tokens=60, extra_body=extra)
            assert r.choices[0].finish_reason == "stop" and fits(r.choices[0].message.content), (extra, r.choices[0].message.content)
        r = client.completions.create(model=MODEL, prompt="Answer:", temperature=2, seed=1, max_tokens=60, extra_body=extra)
        assert r.choices[0].finish_reason == "stop" and fits(r.choices[0].text), (extra, r.choices[0].text)


def test_prediction_changes_no_byte(client, valid):
    plain = ask(client, temperature=0, max_tokens=40)
    text = plain.choices[0].message.content
    told = ask(client, temperature=0, max_tokens=40, prediction={"type": "content", "content": text})
    valid("CreateChatCompletionResponse", told)
    assert told.choices[0].message.content == text
    details = told.usage.completion_tokens_details
    assert details.accepted_prediction_tokens > 0 and details.accepted_prediction_tokens + details.rejected_prediction_tokens > 0
    parts = ask(client, temperature=0, max_tokens=40, prediction={"type": "content", "content": [{"type": "text", "text": "Something else entirely."}]})
    assert parts.choices[0].message.content == text
    off = ask(client, temperature=0, max_tokens=40, prediction={"type": "content", "content": text}, extra_body={"speculative": False})
    assert off.choices[0].message.content == text and off.usage.completion_tokens_details.accepted_prediction_tokens == 0


@pytest.mark.parametrize(
    "change, param, words",
    [
        ({"response_format": {"type": "json"}}, "response_format.type", "json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "Missing"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, "response_format.json_schema.name", "Missing"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}}, "response_format.json_schema.name", "pattern"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "colour": 1}}}, "response_format.json_schema.colour", "Unknown"),
        ({"response_format": schema_format({"type": "object", "properties": {"a": {"type": "array", "contains": {"const": 1}, "minContains": 2}}})}, "response_format", "#/properties/a/minContains"),
        ({"response_format": schema_format({"$ref": "https://example.com/x.json"})}, "response_format", "#/$ref"),
        ({"response_format": schema_format({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, strict=True)}, "response_format", "additionalProperties"),
        ({"response_format": schema_format({"type": "object", "properties": {"a": {"type": "string"}}, "required": [], "additionalProperties": False}, strict=True)}, "response_format", "required"),
        ({"guided_regex": "(a"}, "guided_regex", ""),
        ({"grammar": "root ::= missing"}, "grammar", "not defined"),
        ({"guided_choice": []}, "guided_choice", ""),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "guided_regex", "already"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag", ""),
        ({"prediction": {"type": "text", "content": "x"}}, "prediction", ""),
    ],
)
def test_what_cannot_be_kept_is_refused(client, change, param, words):
    with pytest.raises(openai.BadRequestError) as e: client.chat.completions.create(model=MODEL, messages=ASK, extra_body=change)
    assert e.value.param == param and words in e.value.message, e.value.message
