"""Calls of tools with the real model.  It was never taught to call one, so what is forced is so by the grammar."""
import json

import openai, pydantic, pytest

from conftest import MODEL

ASK = [{"role": "user", "content": "What is the weather in Graz?"}]
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather of a city.", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Graz", "Wien", "Linz"]}, "days": {"type": "integer", "minimum": 1, "maximum": 14}},
    "required": ["city", "days"], "additionalProperties": False}}}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
TOOLS = [WEATHER, CLOCK]


def ask(client, **more):
    more.setdefault("max_tokens", 120)
    more.setdefault("tools", TOOLS)
    return client.chat.completions.create(model=MODEL, messages=more.pop("messages", ASK), **more)


def check_calls(calls, names=("get_weather", "get_time")):
    assert calls and len({c.id for c in calls}) == len(calls)
    for c in calls:
        assert c.type == "function" and c.function.name in names and c.id
        arguments = json.loads(c.function.arguments)
        if c.function.name == "get_time": assert arguments == {}
        else: assert arguments["city"] in ("Graz", "Wien", "Linz") and 1 <= arguments["days"] <= 14 and set(arguments) == {"city", "days"}


def test_required(client, valid):
    for seed in range(4):
        r = ask(client, tool_choice="required", parallel_tool_calls=False, temperature=2, seed=seed)
        valid("CreateChatCompletionResponse", r)
        m = r.choices[0].message
        assert r.choices[0].finish_reason == "tool_calls" and m.content is None and len(m.tool_calls) == 1
        check_calls(m.tool_calls)


def test_named_and_allowed(client):
    for name in ("get_weather", "get_time"):
        r = ask(client, tool_choice={"type": "function", "function": {"name": name}}, temperature=2, seed=1)
        check_calls(r.choices[0].message.tool_calls, (name,))
        assert len(r.choices[0].message.tool_calls) == 1
        choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": name}}]}}
        r = ask(client, tool_choice=choice, parallel_tool_calls=False, temperature=2, seed=2)
        check_calls(r.choices[0].message.tool_calls, (name,))
    choice["allowed_tools"]["mode"] = "auto"
    assert ask(client, tool_choice=choice, temperature=0, max_tokens=8).choices[0].finish_reason in ("length", "stop", "tool_calls")


def test_none_and_auto(client, valid):
    r = ask(client, tool_choice="none", temperature=0, max_tokens=24)
    assert r.choices[0].message.tool_calls is None and r.choices[0].message.content
    for seed in range(3):
        r = ask(client, temperature=1, seed=seed)
        valid("CreateChatCompletionResponse", r)
        m = r.choices[0].message
        if m.tool_calls: check_calls(m.tool_calls)
        else: assert m.content and "<tool_call>" not in m.content


def test_parallel(client, valid):
    for seed in range(30):
        r = ask(client, tool_choice="required", temperature=2, seed=seed, max_tokens=200)
        calls = r.choices[0].message.tool_calls
        if r.choices[0].finish_reason == "tool_calls" and len(calls) > 1: break
    else:
        raise AssertionError("never two calls in thirty replies")
    valid("CreateChatCompletionResponse", r)
    check_calls(calls)
    streamed = {}
    for chunk in ask(client, tool_choice="required", temperature=2, seed=seed, max_tokens=200, stream=True):
        for d in chunk.choices[0].delta.tool_calls or []:
            if d.id: streamed[d.index] = [d.function.name, ""]
            streamed[d.index][1] += d.function.arguments
    assert list(streamed) == list(range(len(calls)))
    assert list(streamed.values()) == [[c.function.name, c.function.arguments] for c in calls]


def test_stream_has_openai_s_shape(client, valid):
    whole = ask(client, tool_choice={"type": "function", "function": {"name": "get_weather"}}, temperature=0, seed=3)
    deltas = []
    for chunk in ask(client, tool_choice={"type": "function", "function": {"name": "get_weather"}}, temperature=0, seed=3, stream=True):
        valid("CreateChatCompletionStreamResponse", chunk)
        deltas.append(chunk.choices[0])
    first = deltas[0].delta
    assert first.role == "assistant" and first.content is None
    assert first.tool_calls[0].index == 0 and first.tool_calls[0].id and first.tool_calls[0].type == "function"
    assert first.tool_calls[0].function.name == "get_weather" and first.tool_calls[0].function.arguments == ""
    middle = deltas[1:-1]
    assert len(middle) > 3, "arguments come as they are written"
    for d in middle:
        call = d.delta.tool_calls[0]
        assert d.finish_reason is None and d.delta.role is None and d.delta.content is None
        assert call.index == 0 and call.id is None and call.function.name is None and call.function.arguments
    assert deltas[-1].finish_reason == "tool_calls" and not deltas[-1].delta.tool_calls
    assert "".join(d.delta.tool_calls[0].function.arguments for d in middle) == whole.choices[0].message.tool_calls[0].function.arguments


class GetWeather(pydantic.BaseModel):
    """The weather of a city."""
    days: int = pydantic.Field(ge=1, le=9)
    metric: bool


def test_the_client_s_own_helpers(client):
    tool = openai.pydantic_function_tool(GetWeather)  # strict
    r = client.chat.completions.parse(model=MODEL, messages=ASK, tools=[tool], tool_choice="required", parallel_tool_calls=False, max_tokens=100, temperature=1.5, seed=1)
    assert isinstance(r.choices[0].message.tool_calls[0].function.parsed_arguments, GetWeather)
    names = []
    with client.chat.completions.stream(model=MODEL, messages=ASK, tools=[tool], tool_choice="required", parallel_tool_calls=False, max_tokens=100, temperature=1.5, seed=1) as stream:
        for event in stream: names.append(event.type)
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in names and "tool_calls.function.arguments.done" in names
    assert final.choices[0].message.tool_calls[0].function.arguments == r.choices[0].message.tool_calls[0].function.arguments
    assert isinstance(final.choices[0].message.tool_calls[0].function.parsed_arguments, GetWeather)


def test_several_choices(client):
    r = ask(client, tool_choice="required", parallel_tool_calls=False, n=3, temperature=2, seed=4)
    assert [c.index for c in r.choices] == [0, 1, 2]
    for c in r.choices: check_calls(c.message.tool_calls)
    assert len({c.message.tool_calls[0].id for c in r.choices}) == 3


def test_a_conversation_goes_on(client, valid):
    r = ask(client, tool_choice="required", parallel_tool_calls=False, temperature=0)
    history = [*ASK, r.choices[0].message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": r.choices[0].message.tool_calls[0].id, "content": "12 degrees and rain"}]
    more = ask(client, messages=history, temperature=0, max_tokens=16)
    valid("CreateChatCompletionResponse", more)
    assert more.choices[0].message.content or more.choices[0].message.tool_calls
    assert more.usage.prompt_tokens > r.usage.prompt_tokens + 10
    assert ask(client, messages=history, temperature=0, max_tokens=16, tool_choice="none").choices[0].message.content


def test_functions_the_predecessor(client, valid):
    functions = [t["function"] for t in TOOLS]
    r = client.chat.completions.create(model=MODEL, messages=ASK, functions=functions, function_call={"name": "get_weather"}, max_tokens=120, temperature=2, seed=6)
    valid("CreateChatCompletionResponse", r)
    m = r.choices[0].message
    assert r.choices[0].finish_reason == "function_call" and m.content is None and m.tool_calls is None
    assert m.function_call.name == "get_weather" and json.loads(m.function_call.arguments)["days"]
    name, arguments = None, ""
    for chunk in client.chat.completions.create(model=MODEL, messages=ASK, functions=functions, function_call={"name": "get_weather"}, max_tokens=120, temperature=2, seed=6, stream=True):
        valid("CreateChatCompletionStreamResponse", chunk)
        call = chunk.choices[0].delta.function_call
        if call: name, arguments = name or call.name, arguments + call.arguments
    assert (name, arguments) == (m.function_call.name, m.function_call.arguments)
    history = [*ASK, {"role": "assistant", "content": None, "function_call": m.function_call.model_dump()}, {"role": "function", "name": "get_weather", "content": "rain"}]
    assert client.chat.completions.create(model=MODEL, messages=history, max_tokens=4).choices[0].message.content


def test_tools_beside_a_response_format(client):
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}}}
    for seed in range(4):
        r = ask(client, response_format=form, temperature=2, seed=seed)
        m = r.choices[0].message
        if m.tool_calls: check_calls(m.tool_calls)
        else: assert set(json.loads(m.content)) == {"ok"}


@pytest.mark.parametrize(
    "change, param",
    [
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "x" * 65}}]}, "tools[0].function.name"),
        ({"tools": [CLOCK, CLOCK]}, "tools[1].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}]}, "tools[0].function.parameters"),
        ({"tools": [{"type": "function", "function": {"name": "f", "colour": 1}}]}, "tools[0].function.colour"),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}]}, "tools[0].function.parameters"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "array", "contains": {"const": 1}, "minContains": 2}}}}}], "tool_choice": "required"}, "tools[0].function.parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "never"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nope"}}}, "tool_choice.function.name"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "must", "tools": [{"type": "function", "function": {"name": "get_time"}}]}}}, "tool_choice.allowed_tools.mode"),
        ({"functions": [], "tools": TOOLS}, "functions"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]}]}, "messages[0].tool_calls[0].id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]}]}, "messages[0].tool_calls[0].function.arguments"),
    ],
)
def test_faults_are_named(client, change, param):
    body = {"messages": ASK, **change}
    with pytest.raises(openai.BadRequestError) as e: client.chat.completions.create(model=MODEL, messages=body.pop("messages"), max_tokens=4, extra_body=body)
    assert e.value.param == param, e.value.message


def test_a_schema_that_cannot_be_kept_and_need_not_be(client):
    """In auto mode, not strict: the call's arguments are any object."""
    odd = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "array", "contains": {"const": 1}, "minContains": 2}}}}}
    assert ask(client, tools=[odd], temperature=0, max_tokens=4).choices[0].finish_reason in ("length", "stop", "tool_calls")
