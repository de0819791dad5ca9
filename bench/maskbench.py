#!/usr/bin/env python3
"""Masks of JSON Schemas beside LLGuidance (PyPI llguidance, llama-cpp-python), in one run on one machine.

    bench/maskbench.py --hone build/hone --model MODEL.gguf --rows MASKBENCH.jsonl

Both walk the same instances, written as json.dumps writes them and cut by the model's tokenizer.  A schema counts once:
compile_error (refused), invalidation_error (an invalid instance got through), validation_error (a valid one did not),
else passing.  Times are per mask and per schema, in microseconds; the two run one after the other, --rounds times."""
import argparse, json, statistics, subprocess, time


def quantiles(a):
    a = sorted(a)
    return {"p50": round(a[len(a) // 2], 1), "p99": round(a[len(a) * 99 // 100], 1), "mean": round(statistics.fmean(a), 1)}


def llguidance_run(model, rows):
    import llama_cpp, llguidance, llguidance.llamacpp, llguidance.numpy as masks
    llama = llama_cpp.Llama(model, vocab_only=True, verbose=False)
    tokenizer = llguidance.llamacpp.lltokenizer_from_vocab(llama._model.vocab)
    bits = masks.allocate_token_bitmask(1, tokenizer.vocab_size)
    out = {"schemas": 0, "passing": 0, "compile_error": 0, "validation_error": 0, "invalidation_error": 0}
    mask_us, compile_us = [], []
    for row in rows:
        out["schemas"] += 1
        text = json.dumps(row["schema"])
        begin = time.perf_counter()
        try:
            matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_json_schema(text))
            failed = matcher.is_error()
        except Exception:
            failed = True
        compile_us.append((time.perf_counter() - begin) * 1e6)
        if failed:
            out["compile_error"] += 1
            continue
        lost = leaked = False
        for test in row["tests"]:
            matcher.reset()
            through = True
            for token in tokenizer.tokenize_str(json.dumps(test["data"], ensure_ascii=False)):
                begin = time.perf_counter()
                masks.fill_next_token_bitmask(matcher, bits, 0)
                mask_us.append((time.perf_counter() - begin) * 1e6)
                if not (int(bits[0][token >> 5]) >> (token & 31)) & 1:
                    through = False
                    break
                matcher.consume_token(token)
            through = through and matcher.is_accepting()
            lost, leaked = lost or (test["valid"] and not through), leaked or (through and not test["valid"])
        out["invalidation_error" if leaked else "validation_error" if lost else "passing"] += 1
    return {**out, "mask_us": quantiles(mask_us), "compile_us": quantiles(compile_us)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--hone", default="build/hone")
    p.add_argument("--model", required=True)
    p.add_argument("--rows", required=True)
    p.add_argument("--rounds", type=int, default=1)
    a = p.parse_args()
    rows = [json.loads(line) for line in open(a.rows)]
    for _ in range(a.rounds):
        ours = json.loads(subprocess.run([a.hone, "inspect", "grammar", "--model", a.model, "--maskbench", a.rows, "--json"], check=True, capture_output=True, text=True).stdout)
        for name, r in (("hone", ours), ("llguidance", llguidance_run(a.model, rows))):
            print(f"{name:11} {r['passing']:6} of {r['schemas']} pass, {r['compile_error']} refused, {r['validation_error']} lose a valid instance, {r['invalidation_error']} accept an invalid one; "
                  f"mask p50 {r['mask_us']['p50']:.1f} p99 {r['mask_us']['p99']:.1f} mean {r['mask_us']['mean']:.1f} us; compile p50 {r['compile_us']['p50']:.0f} p99 {r['compile_us']['p99']:.0f} us", flush=True)


if __name__ == "__main__":
    main()
