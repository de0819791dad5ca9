#!/usr/bin/env python3
"""Adapters of every kind that is served, against PEFT itself: tiny random models, logits in float32.

    peft_adapters.py make DIR                 models, adapters and expected logits; needs torch, transformers and peft
    peft_adapters.py check DIR --hone HONE    the same through `hone inspect logits --precision f32`; needs nothing

Kinds: LoRA, rsLoRA, rank and alpha patterns, DoRA, lm_head, embed_tokens, both, DoRA on the head, aLoRA with and without its invocation
tokens in the text; on a Llama with a head of its own, a tied one, and a Qwen2 with biases."""
import argparse, json, os, subprocess, sys

VOCAB = 320
TOKENS = [5, 17, 200, 31, 7, 8, 9, 44, 120, 7, 8, 3, 61, 250, 12]  # the invocation tokens 7, 8 twice
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS = {
    "lora": dict(r=8, lora_alpha=16, target_modules=LINEAR),
    "rslora": dict(r=16, lora_alpha=8, target_modules=["q_proj", "v_proj"], use_rslora=True),
    "patterns": dict(r=4, lora_alpha=8, target_modules=LINEAR, rank_pattern={"layers.1.self_attn.q_proj": 96, "down_proj": 1}, alpha_pattern={"up_proj": 3}),
    "dora": dict(r=8, lora_alpha=16, target_modules=LINEAR, use_dora=True),
    "dora_rs_head": dict(r=4, lora_alpha=4, target_modules=["v_proj", "lm_head"], use_dora=True, use_rslora=True),
    "head": dict(r=8, lora_alpha=16, target_modules=["lm_head"]),
    "embed": dict(r=8, lora_alpha=16, target_modules=["embed_tokens"]),
    "everything": dict(r=6, lora_alpha=9, target_modules=LINEAR + ["lm_head", "embed_tokens"]),
    "alora": dict(r=8, lora_alpha=16, target_modules=LINEAR, alora_invocation_tokens=[7, 8], task_type="CAUSAL_LM"),
    "alora_absent": dict(r=8, lora_alpha=16, target_modules=LINEAR, alora_invocation_tokens=[8, 7], task_type="CAUSAL_LM"),
}


def make(out):
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
    shape = dict(vocab_size=VOCAB, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96, max_position_embeddings=128, initializer_range=0.2)
    models = {"llama": (LlamaForCausalLM, LlamaConfig(**shape)), "llama_tied": (LlamaForCausalLM, LlamaConfig(**shape, tie_word_embeddings=True)), "qwen2": (Qwen2ForCausalLM, Qwen2Config(**shape))}
    tokens = torch.tensor([TOKENS])
    for name, (kind, config) in models.items():
        torch.manual_seed(11)
        base = os.path.join(out, name)
        model = kind(config).float().eval()
        with torch.no_grad():
            for n, p in model.named_parameters():
                if n.endswith("bias"): p.normal_(0, 0.3)
        model.save_pretrained(os.path.join(base, "base"))
        for a, options in KINDS.items():
            model = kind.from_pretrained(os.path.join(base, "base")).float().eval()
            peft = get_peft_model(model, LoraConfig(**options))
            torch.manual_seed(hash_of(name + a))
            with torch.no_grad():
                for n, p in peft.named_parameters():
                    if "lora_magnitude" in n: p.mul_(torch.rand_like(p) + 0.5)
                    elif "lora_" in n: p.normal_(0, 0.1)
            peft.save_pretrained(os.path.join(base, a))
            again = PeftModel.from_pretrained(kind.from_pretrained(os.path.join(base, "base")).float().eval(), os.path.join(base, a)).eval()
            with torch.no_grad(): logits = again(input_ids=tokens).logits[0]
            json.dump(logits.double().tolist(), open(os.path.join(base, a, "expected.json"), "w"))


def hash_of(text):
    n = 0
    for c in text: n = (n * 131 + ord(c)) % 1000003
    return n


def check(out, hone, tolerance):
    good = n = 0
    for name in sorted(os.listdir(out)):
        for a in KINDS:
            folder = os.path.join(out, name, a)
            want = json.load(open(os.path.join(folder, "expected.json")))
            command = [hone, "inspect", "logits", "--model", os.path.join(out, name, "base"), "--adapter", folder, "--tokens", ",".join(map(str, TOKENS)),
                       "--positions", ",".join(map(str, range(len(TOKENS)))), "--precision", "f32", "--json"]
            run = subprocess.run(command, capture_output=True, text=True)
            n += 1
            if run.returncode:
                print(f"FAIL  {name} {a}: {run.stderr.strip()[-200:]}")
                continue
            got = json.loads(run.stdout)["logits"]
            scale = max(abs(x) for row in want for x in row)
            worst = max(abs(x - y) for w, g in zip(want, got) for x, y in zip(w, g)) / scale
            good += worst <= tolerance
            print(f"{'ok   ' if worst <= tolerance else 'WRONG'} {name} {a}: {worst:.1e} of the largest logit")
    print(f"adapters_ok {good}/{n}")
    return 0 if good == n and n else 1


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("make", "check")); p.add_argument("dir"); p.add_argument("--hone", default="hone"); p.add_argument("--tolerance", type=float, default=5e-6)
    a = p.parse_args()
    return make(a.dir) if a.what == "make" else check(a.dir, a.hone, a.tolerance)


if __name__ == "__main__":
    sys.exit(main())
