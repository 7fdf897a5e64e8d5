"""`trainer merge` against PEFT's merge_and_unload, tensor by tensor, for every adapter method.

    /opt/ref/bin/python tests/parity/merge.py TRAINER MODEL.gguf [--only NAME …] [--keep FOLDER]

TRAINER is the program; MODEL.gguf only lends its tokenizer. Bases: the tiny random Llamas of adapters.py, stored in f32
and in bf16. PEFT merges in f32: an f32 base must come out the same to 1e-6 of the largest value of each tensor, a bf16
base as PEFT's result rounded once, where what lies within 1e-6 of that may be rounded instead.
"""

import argparse
import os
import sys
import tempfile

import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

sys.path.insert(0, os.path.dirname(__file__))
from adapters import CASES, perturb, tiny, write_recipe  # noqa: E402
from model import finish, judge, reference, run, write_data  # noqa: E402

CLOSE = 1e-6


def make_adapter(label, args, folder, base, data):
    """PEFT's own where it can be saved as a plain adapter on the base, else one that we trained."""
    _, config, section = CASES[label]   # of several that act together the trained one alone
    path = os.path.join(folder, f"{label}-{os.path.basename(base)}")
    if section["method"] in ("pissa", "olora") or section.get("init") in ("pissa", "olora"):
        write_recipe(path, base, data, section)
        run(args.trainer, "run", path)
        return path + ".run"
    model = get_peft_model(reference(base), config)
    perturb(model)
    model.save_pretrained(path)
    return path


def compare(label, args, folder, base, data):
    adapter = make_adapter(label, args, folder, base, data)
    original = reference(base).state_dict()
    expected = PeftModel.from_pretrained(reference(base), adapter).merge_and_unload()
    assert not any("base_layer" in name or "lora" in name for name in expected.state_dict())
    out = adapter + "-merged"
    tied = CASES[label][0] == "tied"
    touched = tied and "embed_tokens" in str(CASES[label][2])   # not by its trained rows, which the head has too
    run(args.trainer, "merge", adapter, "--base", base, "--out", out, *(["--untie"] if touched else []))
    ours = load_file(os.path.join(out, "model.safetensors"))
    values = expected.state_dict()
    if touched:   # the head stays what it was
        values["lm_head.weight"] = original["model.embed_tokens.weight"]
    elif tied:
        del values["lm_head.weight"]
    judge(f"{label}: tensors that only one has", len(set(values) ^ set(ours)), 0)
    changed = worst = wrong = other = 0
    for name, value in values.items():
        mine, size = ours[name], value.abs().max().item()
        changed += not torch.equal(value, original.get(name, value))
        if mine.dtype == torch.float32:
            worst = max(worst, (mine - value).abs().max().item() / size)
            continue
        assert mine.dtype == torch.bfloat16
        off = mine != value.to(torch.bfloat16)
        other += off.sum().item()
        low, high = ((value + sign * CLOSE * size).to(torch.bfloat16) for sign in (-1, 1))
        near = (low <= mine) & (mine <= high)
        wrong += (off & ~near).sum().item()
    if ours["model.norm.weight"].dtype == torch.float32:
        judge(f"{label}, f32 base: {changed} changed tensors of {len(values)} (worst, of the largest value)", worst, CLOSE)
    else:
        judge(f"{label}, bf16 base: {changed} changed tensors, {other} values of a neighbour; others that differ", wrong, 0)
    assert changed > 0
    loads(label, out, values)


def loads(label, out, values):
    """transformers opens it and finds the same values."""
    model, info = LlamaForCausalLM.from_pretrained(out, output_loading_info=True)
    judge(f"{label}: missing or unexpected in transformers", len(info["missing_keys"]) + len(info["unexpected_keys"]), 0)
    state, ours = model.state_dict(), load_file(os.path.join(out, "model.safetensors"))
    judge(f"{label}: values that transformers reads otherwise", sum(not torch.equal(state[n], v) for n, v in ours.items()), 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trainer")
    parser.add_argument("gguf")
    parser.add_argument("--only", nargs="*", choices=CASES)
    parser.add_argument("--keep", help="work here and leave everything")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or temporary
        os.makedirs(folder, exist_ok=True)
        data = os.path.join(folder, "data.jsonl")
        write_data(data, 60, 1)
        for name, tied, bias in (("tied", True, False), ("untied", False, False), ("biased", False, True)):
            base = os.path.join(folder, name)
            tiny(base, args.gguf, tied, bias)
            tiny(base + "-bf16", args.gguf, tied, bias)
            LlamaForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base + "-bf16")
        for label in args.only or [one for one in CASES if not one.startswith("beside")]:
            for kind in ("", "-bf16"):
                compare(label, args, folder, os.path.join(folder, CASES[label][0] + kind), data)
    finish()


if __name__ == "__main__":
    main()
