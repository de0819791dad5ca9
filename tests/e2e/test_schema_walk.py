"""Every text that a schema's masks lead to is valid by python-jsonschema: 1,000 walks over 100 schemas, tokens at random."""
import decimal, json, pathlib, subprocess

import jsonschema, pytest
from conftest import HONE, MODEL, SHARED


@pytest.mark.skipif(not (SHARED / "data/maskbench/dev.jsonl").exists(), reason="no MaskBench rows")
def test_walks_are_valid(home, tmp_path):
    rows = [json.loads(line, parse_float=decimal.Decimal) for line in open(SHARED / "data/maskbench/dev.jsonl")]
    some = rows[:: len(rows) // 110][:110]  # a few are refused
    by_name = {row["name"]: row for row in some}
    source = [line for line in open(SHARED / "data/maskbench/dev.jsonl") if json.loads(line)["name"] in by_name]
    (tmp_path / "rows.jsonl").write_text("".join(source))
    log = tmp_path / "log.jsonl"
    subprocess.run([HONE, "inspect", "grammar", "--home", home, "--model", MODEL, "--maskbench", tmp_path / "rows.jsonl", "--log", log, "--walk", "12", "--seed", "1", "--json"],
                   check=True, stdout=subprocess.DEVNULL)
    schemas = texts = 0
    for line in open(log):
        result = json.loads(line)
        if "texts" not in result:
            continue
        schema = by_name[result["name"]]["schema"]
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
        schemas += 1
        for text in result["texts"]:
            if isinstance(text, dict):  # ended by a limit, with an error: no text at all
                continue
            # Decimals, because a binary 0.3 is no multiple of 0.1.
            problem = next(validator.iter_errors(json.loads(text, parse_float=decimal.Decimal)), None)
            assert problem is None, (result["name"], text, problem.message)
            texts += 1
    assert schemas >= 100 and texts >= 1000, (schemas, texts)
