"""Every adapter method against PEFT in f32: gradients, ten AdamW steps, files both ways.

    /opt/ref/bin/python tests/parity/adapters.py TRAINER DRIVER MODEL.gguf [--only NAME …] [--keep FOLDER]

TRAINER is the program, DRIVER that of tests/parity/model_driver.cpp; MODEL.gguf only lends its tokenizer. Models: tiny random
Llamas, head tied and not, with biases where a case trains them. A line a comparison, `ok` or `FAIL`; the exit code is 1
when one is beyond its bound.
"""

import argparse
import json
import os
import random
import sys
import tempfile

import torch
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, PeftModel, VeraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, get_scheduler

sys.path.insert(0, os.path.dirname(__file__))
from model import (backward_step, clip, count_of, documents_of, finish, judge, logits_of, reference, relative,  # noqa: E402
                   run, write_data, write_tokenizer)

STEPS = 10
RATE = 2e-3


def tiny(folder, gguf, tied, bias):
    torch.manual_seed(4)
    config = LlamaConfig(hidden_size=48, num_hidden_layers=2, intermediate_size=80, num_attention_heads=4,
                         num_key_value_heads=2, head_dim=12, vocab_size=49152, max_position_embeddings=512,
                         tie_word_embeddings=tied, attention_bias=bias, mlp_bias=bias, rms_norm_eps=1e-5,
                         initializer_range=0.08, bos_token_id=1, eos_token_id=2,
                         rope_parameters={"rope_type": "default", "rope_theta": 30000.0})
    model = LlamaForCausalLM(config)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.uniform_(0.5, 1.5)
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.1)
    model.save_pretrained(folder)
    write_tokenizer(folder, gguf)


def lora(**options):
    return LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj", "down_proj"],
                         "task_type": "CAUSAL_LM", **options})


def ia3(**options):
    return IA3Config(task_type="CAUSAL_LM", **options)


LORA = {"method": "lora", "rank": 4, "alpha": 6, "targets": ["q_proj", "v_proj", "down_proj"]}
TOKENS = [198, 2, 314, 7, 260, 40000, 1]   # often, at the end of every turn, never
# name: base, PEFT's configuration, our section of a recipe
CASES = {
    "lora": ("tied", lora(), LORA),
    "gaussian": ("tied", lora(init_lora_weights="gaussian"), {**LORA, "init": "gaussian"}),
    "rslora": ("untied", lora(use_rslora=True, target_modules="all-linear"),
               {**LORA, "method": "rslora", "targets": "all-linear"}),
    "patterns": ("untied", lora(rank_pattern={r"1\.self_attn\.q_proj": 2, "v_proj": 3}, alpha_pattern={"down_proj": 9}),
                 {**LORA, "rank_pattern": {r"1\.self_attn\.q_proj": 2, "v_proj": 3}, "alpha_pattern": {"down_proj": 9}}),
    "layers": ("untied", lora(layers_to_transform=[1], exclude_modules=["v_proj"]),
               {**LORA, "layers_to_transform": [1], "exclude": ["v_proj"]}),
    "bias_all": ("biased", lora(bias="all"), {**LORA, "bias": "all"}),
    "bias_lora_only": ("biased", lora(bias="lora_only"), {**LORA, "bias": "lora_only"}),
    "save_head": ("untied", lora(modules_to_save=["embed_tokens", "lm_head", "norm"]),
                  {**LORA, "modules_to_save": ["embed_tokens", "lm_head", "norm"]}),
    "save_tied": ("tied", lora(modules_to_save=["embed_tokens", "input_layernorm", "o_proj"]),
                  {**LORA, "modules_to_save": ["embed_tokens", "input_layernorm", "o_proj"]}),
    "embedding": ("untied", lora(target_modules=["embed_tokens", "lm_head", "up_proj"]),
                  {**LORA, "targets": ["embed_tokens", "lm_head", "up_proj"]}),
    "embedding_tied": ("tied", lora(target_modules=["embed_tokens", "k_proj"]),
                       {**LORA, "targets": ["embed_tokens", "k_proj"]}),
    "tokens": ("untied", lora(trainable_token_indices=TOKENS), {**LORA, "trainable_token_indices": TOKENS}),
    "tokens_tied": ("tied", lora(trainable_token_indices=TOKENS), {**LORA, "trainable_token_indices": TOKENS}),
    "tokens_head": ("untied", lora(trainable_token_indices={"embed_tokens": TOKENS, "lm_head": TOKENS[:3]}),
                    {**LORA, "trainable_token_indices": {"embed_tokens": TOKENS, "lm_head": TOKENS[:3]}}),
    "parameters": ("untied", lora(target_modules=["q_proj"], target_parameters=["mlp.down_proj.weight", "1.self_attn.v_proj.weight"]),
                   {**LORA, "targets": ["q_proj"], "target_parameters": ["mlp.down_proj.weight", "1.self_attn.v_proj.weight"]}),
    "parameters_alone": ("untied", lora(target_modules=[], target_parameters=["down_proj.weight", "q_proj.weight"]),
                         {"method": "lora", "rank": 4, "alpha": 6, "target_parameters": ["down_proj.weight", "q_proj.weight"]}),
    "beside": ("tied", lora(), LORA),
    "beside_ia3": ("tied", ia3(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
                   {"method": "ia3", "targets": ["k_proj", "v_proj", "down_proj"]}),
    "loha": ("tied", LoHaConfig(r=4, alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"),
             {**LORA, "method": "loha"}),
    "loha_patterns": ("biased", LoHaConfig(r=4, alpha=6, target_modules=["q_proj", "o_proj", "up_proj"], task_type="CAUSAL_LM",
                                           rank_pattern={"o_proj": 2}, alpha_pattern={"up_proj": 9},
                                           modules_to_save=["embed_tokens"]),
                      {**LORA, "method": "loha", "targets": ["q_proj", "o_proj", "up_proj"], "rank_pattern": {"o_proj": 2},
                       "alpha_pattern": {"up_proj": 9}, "modules_to_save": ["embed_tokens"]}),
    "lokr": ("tied", LoKrConfig(r=2, alpha=3, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"),
             {**LORA, "method": "lokr", "rank": 2, "alpha": 3}),
    "lokr_both": ("untied", LoKrConfig(r=1, alpha=3, target_modules=["k_proj", "up_proj"], task_type="CAUSAL_LM", decompose_both=True,
                                       decompose_factor=5, rank_pattern={"up_proj": 2}),
                  {**LORA, "method": "lokr", "rank": 1, "alpha": 3, "targets": ["k_proj", "up_proj"], "decompose_both": True,
                   "decompose_factor": 5, "rank_pattern": {"up_proj": 2}}),
    "vera": ("tied", VeraConfig(r=16, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"),
             {"method": "vera", "rank": 16, "targets": ["q_proj", "v_proj", "down_proj"]}),
    "oft": ("tied", OFTConfig(oft_block_size=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"),
            {"method": "oft", "oft_block_size": 8, "targets": ["q_proj", "v_proj", "down_proj"]}),
    "oft_adjusted": ("biased", OFTConfig(oft_block_size=9, target_modules=["o_proj", "down_proj"], task_type="CAUSAL_LM",
                                         modules_to_save=["norm"]),
                     {"method": "oft", "oft_block_size": 9, "targets": ["o_proj", "down_proj"], "modules_to_save": ["norm"]}),
    "loraplus": ("tied", lora(), {**LORA, "loraplus_lr_ratio": 8}),
    "dora": ("untied", lora(use_dora=True), {**LORA, "method": "dora"}),
    "dora_bias": ("biased", lora(use_dora=True, use_rslora=True, bias="all"),
                  {**LORA, "dora": True, "rslora": True, "bias": "all"}),
    "ia3": ("tied", ia3(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
            {"method": "ia3", "targets": ["k_proj", "v_proj", "down_proj"]}),
    "ia3_all": ("biased", ia3(target_modules=r".*\.(q_proj|o_proj|up_proj|down_proj)", feedforward_modules=["up_proj", "down_proj"],
                              modules_to_save=["lm_head"]),
                {"method": "ia3", "targets": r".*\.(q_proj|o_proj|up_proj|down_proj)",
                 "feedforward": ["up_proj", "down_proj"], "modules_to_save": ["lm_head"]}),
    "pissa": ("untied", lora(init_lora_weights="pissa"), {**LORA, "method": "pissa"}),
    "pissa_rslora": ("tied", lora(init_lora_weights="pissa", use_rslora=True), {**LORA, "init": "pissa", "rslora": True}),
    "pissa_patterns": ("tied", lora(init_lora_weights="pissa", rank_pattern={"v_proj": 2}),
                       {**LORA, "init": "pissa", "rank_pattern": {"v_proj": 2}}),
    "olora": ("untied", lora(init_lora_weights="olora"), {**LORA, "method": "olora"}),
}


# Those that act frozen beside the trained one; PEFT's configuration of each.
BESIDE = {
    "beside": {"style": lora(r=3, target_modules=["v_proj", "k_proj", "up_proj"]),
               "tone": lora(lora_alpha=9, target_modules=["q_proj", "v_proj"], modules_to_save=["o_proj"])},
    "beside_ia3": {"style": ia3(target_modules=["v_proj", "down_proj"], feedforward_modules=["down_proj"])},
}


def make_beside(label, folder, base):
    """Adapters that PEFT saved, by name."""
    folders = {}
    for i, (name, config) in enumerate(BESIDE.get(label, {}).items()):
        other = get_peft_model(reference(base), config)
        perturb(other, 20 + i)
        folders[name] = os.path.join(folder, f"{label}-{name}")
        other.save_pretrained(folders[name])
    return folders


def put_beside(model, folders):
    """Loads them into PEFT's model, active and frozen beside its own adapter."""
    if not folders:
        return model
    for name, path in folders.items():
        model.load_adapter(path, name)
    model.base_model.set_adapter(["default", *folders])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".default" in name)
    return model


def write_recipe(path, base, data, section):
    recipe = {
        "model": {"base": base, "dtype": "f32"},
        "data": {"train": {"path": data}, "max_length": 128, "packing": False},
        "peft": section,
        "training": {"steps": STEPS, "batch": 4, "micro_batch": 2, "precision": "f32", "clip_norm": 0.5, "seed": 7},
        "optimizer": {"lr": RATE, "weight_decay": 0.1},
        "schedule": {"name": "cosine", "warmup": 3, "min_lr_ratio": 0.0},
        "output": path + ".run",
    }
    with open(path, "w") as out:
        json.dump(recipe, out)


def saved_name(name):
    for extra in (".modules_to_save.default", ".default"):
        name = name.replace(extra, "")
    return name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")


def trained(model):
    return [(saved_name(name), p) for name, p in model.named_parameters() if p.requires_grad]


def perturb(model, seed=9):
    torch.manual_seed(seed)
    for _, parameter in trained(model):
        parameter.data.add_(0.02 * torch.randn_like(parameter))


def start_as_ours(model, values, from_weight):
    """Our initial A and B in PEFT's model, whose base is its own residual."""
    worst = 0.0
    for name, parameter in trained(model):
        ours = values["value." + name]
        if from_weight and name.endswith("lora_B.weight"):
            a = dict(trained(model))[name.replace("lora_B", "lora_A")].data
            worst = max(worst, ours_product_error(values, name, parameter.data @ a))
    if from_weight:
        judge("  B A of the start against PEFT's (worst)", worst, 1e-4)
    for name, parameter in trained(model):
        parameter.data.copy_(values["value." + name])


def ours_product_error(values, name, product):
    ours = values["value." + name] @ values["value." + name.replace("lora_B", "lora_A")]
    return ((ours - product).norm() / product.norm()).item()


def gradients(label, ours, model):
    cosine = norm = 0.0
    for name, parameter in trained(model):
        a, b = ours["gradient." + name].double().flatten(), parameter.grad.double().flatten()
        size = b.norm().item()
        if size == 0:
            judge(f"{label}: zero gradient {name}", a.norm().item(), 0)
            continue
        cosine = max(cosine, 1 - torch.dot(a, b).item() / (a.norm().item() * size))
        norm = max(norm, relative(a.norm().item(), size))
    judge(f"{label}: gradients of {len(trained(model))} tensors, 1 - cosine (worst)", cosine, 1e-5)
    judge(f"{label}: gradients, norm (worst)", norm, 1e-4)


def train(label, recipe, model, ratio):
    plan = json.load(open(recipe + ".plan"))
    groups = []
    for name, parameter in trained(model):
        fast = "lora_B" in name or parameter.ndim == 1
        groups.append({"params": [parameter], "lr": RATE * (ratio if fast else 1),
                       "weight_decay": 0.0 if "norm" in name or name.endswith("bias") else 0.1})
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=3, num_training_steps=STEPS)
    lines = [json.loads(line) for line in open(os.path.join(recipe + ".run", "metrics.jsonl"))]
    loss_error = norm_error = 0.0
    for step, line in zip(plan, lines, strict=True):
        loss = backward_step(model, step)
        norm = clip([p for _, p in trained(model)], 0.5)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss_error = max(loss_error, relative(line["loss"], loss))
        norm_error = max(norm_error, relative(line["grad_norm"], norm))
    judge(f"{label}: loss over {STEPS} steps (worst), {lines[0]['loss']:.4f} to {lines[-1]['loss']:.4f}", loss_error, 1e-4)
    judge(f"{label}: grad_norm over {STEPS} steps (worst)", norm_error, 1e-4)


def compare_logits(label, args, folder, base, adapter, model, others=()):
    adapter = ",".join([adapter, *others])
    generator = random.Random(11)
    sequences = [[generator.randrange(49152) for _ in range(n)] for n in (1, 7, 64)]
    model = model.eval().double()
    worst = 0.0
    for sequence, ours in zip(sequences, logits_of(args, folder, base, adapter, sequences)):
        with torch.no_grad():
            worst = max(worst, (ours - model(input_ids=torch.tensor([sequence])).logits[0]).abs().max().item())
    judge(f"{label}: logits (largest difference)", worst, 1e-4)


def loads_in_peft(label, args, folder, base, adapter, beside):
    loaded = PeftModel.from_pretrained(reference(base), adapter)
    state = loaded.state_dict()
    # the wrappers hold the original beside the copy
    expected = {saved_name(n) for n in state if any(w in n for w in ("lora_", "ia3_l", "hada_", "lokr_", "vera_", "oft_", "trainable_tokens_delta", ".modules_to_save."))}
    if loaded.config.tie_word_embeddings:   # the head's trained rows are the embedding's, which PEFT saves alone
        expected.discard("base_model.model.lm_head.token_adapter.trainable_tokens_delta")
    expected = {n for n in expected if "layers" not in n or not n.endswith((".vera_A", ".vera_B"))}   # shared, saved once
    config = loaded.peft_config["default"]
    if getattr(config, "bias", "none") == "all":
        expected |= {saved_name(n) for n in state if n.endswith(".bias")}
    if getattr(config, "bias", "none") == "lora_only":
        expected |= {n for n in state if n.endswith("base_layer.bias")}
    found = set(load_file(os.path.join(adapter, "adapter_model.safetensors")))
    # embeddings that PEFT wrote beside their adapter are written again
    expected |= {n for n in found if n.endswith(".base_layer.weight") and n in state}
    for name in sorted(expected ^ found):
        print(f"     {'PEFT misses' if name in expected else 'PEFT does not know'} {name}")
    judge(f"{label}: missing or unexpected tensors of our adapter in PEFT", len(expected ^ found), 0)
    compare_logits(f"{label}: our adapter", args, folder, base, adapter, put_beside(loaded, beside), beside.values())


def fresh_names(label, args, recipe, model):
    """What our own section of the recipe declares is what PEFT's configuration trains."""
    run(args.driver, "gradients", recipe, "-", recipe + ".grad")
    ours = load_file(recipe + ".grad")
    found = {n[len("value."):]: tuple(v.shape) for n, v in ours.items() if n.startswith("value.")}
    expected = {n: tuple(p.shape) for n, p in trained(model)}
    for name in sorted(set(found) ^ set(expected)):
        print(f"     {'PEFT trains' if name in expected else 'PEFT does not train'} {name}")
    judge(f"{label}: tensors declared otherwise than by PEFT", len(found.items() ^ expected.items()), 0)
    return ours


def compare(label, args, folder, data):
    base_name, config, section = CASES[label]
    base = os.path.join(folder, base_name)
    ratio = section.get("loraplus_lr_ratio", 1)
    beside = make_beside(label, folder, base)
    section = {**section, **({"beside": beside} if beside else {})}
    model = get_peft_model(reference(base), config)
    fresh = os.path.join(folder, label + "-fresh.yaml")
    write_recipe(fresh, base, data, section)
    ours = fresh_names(label, args, fresh, model)
    recipe = fresh
    if section.get("init") in ("pissa", "olora") or section["method"] in ("pissa", "olora"):
        start_as_ours(model, ours, True)
    else:   # from an adapter that PEFT saved
        perturb(model)
        given = os.path.join(folder, label + "-given")
        model.save_pretrained(given)
        compare_logits(f"{label}: PEFT's adapter", args, folder, base, given, put_beside(model, beside), beside.values())
        model = put_beside(PeftModel.from_pretrained(reference(base), given, is_trainable=True), beside)
        run(args.trainer, "run", fresh)
        loads_in_peft(f"{label}, fresh", args, folder, base, fresh + ".run", beside)
        recipe = os.path.join(folder, label + ".yaml")
        write_recipe(recipe, base, data, {"continue_from": given, **({"loraplus_lr_ratio": ratio} if ratio != 1 else {}),
                                          **({"beside": beside} if beside else {})})
    run(args.driver, "plan", recipe, recipe + ".plan")
    loss = float(run(args.driver, "gradients", recipe, "-", recipe + ".grad"))
    step = json.load(open(recipe + ".plan"))[0]
    counts = sorted(count_of([d]) for d in documents_of(step))
    model.train()
    expected = backward_step(model, step)
    judge(f"{label}: loss of step 1, documents with {counts[0]} to {counts[-1]} trained tokens", relative(loss, expected), 1e-5)
    gradients(label, load_file(recipe + ".grad"), model)
    model.zero_grad()
    run(args.trainer, "run", recipe)
    train(label, recipe, model, ratio)
    compare_logits(f"{label}: after {STEPS} steps", args, folder, base, recipe + ".run", model, beside.values())
    loads_in_peft(label, args, folder, base, recipe + ".run", beside)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trainer")
    parser.add_argument("driver")
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
            tiny(os.path.join(folder, name), args.gguf, tied, bias)
        for label in args.only or CASES:
            compare(label, args, folder, data)
    finish()


if __name__ == "__main__":
    main()
