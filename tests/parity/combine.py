"""`trainer combine` against PEFT's add_weighted_adapter, tensor by tensor.

    /opt/ref/bin/python tests/parity/combine.py TRAINER MODEL.gguf [--keep FOLDER]

TRAINER is the program; MODEL.gguf only lends its tokenizer. Adapters that PEFT made of a tiny random Llama: with other
alphas, targets and (for cat) ranks, embedding included, weights of both signs. Bound: 1e-6 of the largest value of each
tensor. dare draws other elements than torch; with density 1 it draws all, and what it keeps of one adapter is compared.
PEFT opens what we write and computes the same logits as with its own.
"""

import argparse
import os
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

sys.path.insert(0, os.path.dirname(__file__))
from adapters import perturb, tiny  # noqa: E402
from model import finish, judge, reference, run  # noqa: E402

CLOSE = 1e-6


def adapter(path, base, seed, **options):
    model = get_peft_model(reference(base), LoraConfig(task_type="CAUSAL_LM", **options))
    perturb(model)
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(path)
    return path


def compare(label, args, base, adapters, weights, how, density=0.5, peft_how=None):
    out = f"{adapters[0]}-{label}"
    text = ",".join(str(w) for w in weights)
    run(args.trainer, "combine", *adapters, f"--weights={text}", "--how", how, "--density", str(density), "--out", out)
    ours = load_file(os.path.join(out, "adapter_model.safetensors"))
    model = PeftModel.from_pretrained(reference(base), adapters[0], adapter_name="a0")
    for i, path in enumerate(adapters[1:]):
        model.load_adapter(path, f"a{i + 1}")
    model.add_weighted_adapter([f"a{i}" for i in range(len(adapters))], weights, "both", peft_how or how, density=density)
    model.set_adapter("both")
    theirs = {n.replace(".both", ""): p.detach() for n, p in model.named_parameters() if ".both" in n}
    judge(f"{label}: tensors that only one has", len(set(ours) ^ set(theirs)), 0)
    worst = 0.0
    for name, value in theirs.items():
        worst = max(worst, (ours[name] - value).abs().max().item() / value.abs().max().item())
    judge(f"{label}: {len(theirs)} tensors (worst, of the largest value)", worst, CLOSE)
    ids = torch.arange(100, 140)[None]
    mine = PeftModel.from_pretrained(reference(base), out).eval()
    with torch.no_grad():
        gap = (mine(input_ids=ids).logits - model.eval()(input_ids=ids).logits).abs().max().item()
    judge(f"{label}: logits in PEFT (largest difference)", gap, 1e-4)


def dare(args, one):
    out = one + "-kept"
    run(args.trainer, "combine", one, "--weights", "1", "--how", "dare_linear", "--density", "0.3", "--out", out)
    given, found = (load_file(os.path.join(f, "adapter_model.safetensors")) for f in (one, out))
    scale = (8 / 4) ** 0.5   # √(w s)
    kept = elements = 0
    worst = 0.0
    for name, value in given.items():
        if name not in found:   # the embedding that PEFT saves beside its adapter
            continue
        mine, is_kept = found[name], found[name] != 0
        kept, elements = kept + is_kept.sum().item(), elements + value.numel()
        worst = max(worst, (mine - scale * value / 0.3)[is_kept].abs().max().item() / value.abs().max().item())
    judge("dare: elements kept, of a share of 0.3", abs(kept / elements - 0.3), 4 * (0.3 * 0.7 / elements) ** 0.5)
    judge("dare: what is kept is divided by the share (worst)", worst, 1e-5)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trainer")
    parser.add_argument("gguf")
    parser.add_argument("--keep", help="work here and leave everything")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or temporary
        os.makedirs(folder, exist_ok=True)
        base = os.path.join(folder, "base")
        tiny(base, args.gguf, False, False)
        path = lambda name: os.path.join(folder, name)  # noqa: E731
        one = adapter(path("one"), base, 1, r=4, lora_alpha=8, target_modules=["q_proj", "down_proj", "embed_tokens"])
        two = adapter(path("two"), base, 2, r=4, lora_alpha=2, use_rslora=True, target_modules=["q_proj", "v_proj", "embed_tokens"])
        three = adapter(path("three"), base, 3, r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"],
                        alpha_pattern={"q_proj": 3})
        wide = adapter(path("wide"), base, 4, r=6, lora_alpha=6, target_modules=["q_proj", "v_proj"])
        every, weights = [one, two, three], [0.7, 0.6, -0.5]
        for how in ("linear", "ties", "cat"):
            compare(how, args, base, every, weights, how)
        compare("ties_sparse", args, base, every, [1.0, 1.0, 1.0], "ties", 0.2)
        compare("cat_ranks", args, base, [one, wide], [0.5, 1.5], "cat")
        compare("dare_linear", args, base, every, weights, "dare_linear", 1)
        compare("dare_ties", args, base, every, weights, "dare_ties", 1)
        dare(args, one)
    finish()


if __name__ == "__main__":
    main()
