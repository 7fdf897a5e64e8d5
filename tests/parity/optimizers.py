#!/usr/bin/env python3
"""100 updates of every rule against torch, bitsandbytes, transformers, schedulefree, apollo-torch, or the published rule
in float64.

usage: optimizers.py OPTIMIZER_DRIVER

Values, gradients and learning rates (a warm-up from 0, then a fall) are random. One line for each rule and set of
options: the largest relative error over seeds and tensors, in the Frobenius norm of what the parameters moved by.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

STEPS = 100
SEEDS = (1, 2, 3)
SHAPES = {"a.weight": (48, 96), "b.weight": (130, 70), "c.bias": (77,), "embed.weight": (50, 100), "d.weight": (64, 64)}


def problem(seed):
    draw = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}
    gradients = []
    for _ in range(STEPS):
        scale = {name: torch.exp(torch.randn(shape[:1], generator=draw)) for name, shape in SHAPES.items()}
        gradients.append({name: torch.randn(shape, generator=draw) * scale[name].view(-1, *[1] * (len(shape) - 1)) * 0.1
                          for name, shape in SHAPES.items()})
    return values, gradients


def rates(lr):
    return [lr * min(k / 10, 1 - k / 200) for k in range(STEPS)]


def ours(driver, options, values, gradients, lrs):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tensors = {f"value.{name}": value for name, value in values.items()}
        for k, one in enumerate(gradients):
            tensors |= {f"gradient.{k}.{name}": gradient for name, gradient in one.items()}
        save_file(tensors, folder / "in")
        (folder / "options").write_text(json.dumps(options))
        (folder / "rates").write_text(json.dumps(lrs))
        subprocess.run([driver, "steps", folder / "options", folder / "rates", folder / "in", folder / "out"], check=True)
        return load_file(folder / "out")


def by_torch(make, dtype=torch.float64, before_step=None, after=None, rounded=None):
    """Runs a torch optimizer; what is learned is returned by name."""

    def run(values, gradients, lrs):
        parameters = {name: torch.nn.Parameter(value.to(dtype).clone()) for name, value in values.items()}
        rule = make(list(parameters.values()))
        for step, (lr, one) in enumerate(zip(lrs, gradients), 1):
            for group in rule.param_groups:
                if group["lr"] is not None:
                    group["lr"] = lr
            for name, gradient in one.items():
                parameters[name].grad = gradient.to(dtype).clone()
            if before_step:
                before_step(rule)
            rule.step()
            if rounded:
                for name, parameter in parameters.items():
                    new = rounded(step, name, parameter.detach().numpy())
                    parameter.data.copy_(torch.from_numpy(new))
        if after:
            after(rule)
        return {name: parameter.detach() for name, parameter in parameters.items()}, rule

    return run


def lion(values, gradients, lrs, betas=(0.9, 0.99), decay=0.1, rounded=None):
    values = {name: value.double().numpy().copy() for name, value in values.items()}
    means = {name: np.zeros_like(value) for name, value in values.items()}
    for step, (lr, one) in enumerate(zip(lrs, gradients), 1):
        for name, g in one.items():
            g, m = g.double().numpy(), means[name]
            values[name] -= lr * (np.sign(betas[0] * m + (1 - betas[0]) * g) + decay * values[name])
            means[name] = betas[1] * m + (1 - betas[1]) * g
            if rounded:
                values[name] = rounded(step, name, values[name])
    return {name: torch.from_numpy(value) for name, value in values.items()}, None


def newton_schulz(g, iterations=5):
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(iterations):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def muon(values, gradients, lrs, momentum=0.95, decay=0.1, nesterov=True):
    values = {name: value.double().numpy().copy() for name, value in values.items()}
    state = {name: [np.zeros_like(value), np.zeros_like(value)] for name, value in values.items()}
    for t, (lr, one) in enumerate(zip(lrs, gradients), 1):
        for name, g in one.items():
            g, s = g.double().numpy(), state[name]
            if g.ndim == 2 and not re.fullmatch(".*embed.*", name):
                s[0] = momentum * s[0] + (1 - momentum) * g
                u = newton_schulz((1 - momentum) * g + momentum * s[0] if nesterov else s[0])
                step, rate = u * math.sqrt(max(1, g.shape[0] / g.shape[1])), lr
            else:
                s[0] = 0.9 * s[0] + 0.1 * g
                s[1] = 0.95 * s[1] + 0.05 * g * g
                step = s[0] / (1 - 0.9**t) / (np.sqrt(s[1] / (1 - 0.95**t)) + 1e-10)
                rate = 0.015 * lr
            values[name] -= rate * (step + decay * values[name])
    return {name: torch.from_numpy(value) for name, value in values.items()}, None


def adafactor(**options):
    from transformers.optimization import Adafactor

    return by_torch(lambda parameters: Adafactor(parameters, **options))


def schedule_free(**options):
    import schedulefree

    def begin(rule):
        rule.train()

    return by_torch(lambda parameters: schedulefree.AdamWScheduleFree(parameters, foreach=False, **options),
                    before_step=begin, after=lambda rule: rule.eval())


def ademamix(**options):
    from bitsandbytes.optim.ademamix import _ReferenceAdEMAMix

    # a group for each: in one group its warm-ups multiply from parameter to parameter
    return by_torch(lambda parameters: _ReferenceAdEMAMix([{"params": [one]} for one in parameters], **options))


def moved(found, expected, start):
    return (torch.linalg.vector_norm(found.double() - expected.double()) /
            torch.linalg.vector_norm(expected.double() - start.double())).item()


def cases():
    decay = {"weight_decay": 0.1}
    adam = {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    yield "adamw", decay, 1e-2, 1e-5, by_torch(lambda p: torch.optim.AdamW(p, **decay))
    yield "adamw", adam, 1e-2, 1e-5, by_torch(lambda p: torch.optim.AdamW(p, **adam))
    for ours, theirs in (({}, {}), ({"alpha_warmup": 100, "beta3_warmup": 100}, {"t_alpha": 100, "t_beta3": 100}),
                         ({"alpha": 8, "betas": (0.8, 0.95, 0.99), "beta3_warmup": 40},
                          {"alpha": 8, "betas": (0.8, 0.95, 0.99), "t_beta3": 40})):
        yield "ademamix", decay | ours, 1e-2, 1e-5, ademamix(**decay, **theirs)
    for options in ({"momentum": 0}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}):
        yield "sgd", decay | options, 1e-1, 1e-5, by_torch(lambda p, o=options: torch.optim.SGD(p, lr=0, **decay, **o))
    yield "lion", decay, 1e-2, 1e-5, lion
    for options in ({}, {"beta1": 0.9}, {"scale_parameter": True}, {"clip_threshold": 0.3, "decay_rate": -0.7}):
        full = {"scale_parameter": False, "relative_step": False} | decay | options
        yield "adafactor", decay | options, 1e-2, 1e-5, adafactor(lr=1.0, **full)
    for options in ({"scale_parameter": True}, {"warmup_init": True}):
        full = {"relative_step": True, "scale_parameter": False} | options
        yield "adafactor", full, None, 1e-5, adafactor(lr=None, **full)
    yield "muon", decay, 2e-2, 2e-3, muon
    yield "muon", decay | {"nesterov": False}, 2e-2, 2e-3, lambda *a: muon(*a, nesterov=False)
    yield "schedule_free_adamw", decay, 1e-2, 1e-5, schedule_free(**decay)
    yield ("schedule_free_adamw", {"betas": (0.95, 0.99), "step_power": 1.0}, 1e-2, 1e-5,
           schedule_free(betas=(0.95, 0.99), r=1.0))


def compare_rules(driver):
    good = True
    for name, options, lr, bound, reference in cases():
        worst = 0.0
        for seed in SEEDS:
            values, gradients = problem(seed)
            if options.get("warmup_init"):  # its first steps are lost in the rounding of larger values
                values = {key: 1e-4 * value for key, value in values.items()}
            lrs = rates(lr) if lr else [1.0] * STEPS
            found = ours(driver, {"name": name} | options, values, gradients, lrs)
            expected, _ = reference(values, gradients, lrs)
            worst = max(worst, *(moved(found[f"value.{key}"], expected[key], values[key]) for key in values))
        good &= worst <= bound
        print(f"{'ok  ' if worst <= bound else 'FAIL'} {name} {options}: {worst:.1e} (bound {bound:.0e})", flush=True)
    return good


def bitsandbytes_run(values, gradients, lrs, nearest):
    """`nearest`: codes as on a GPU, the nearest ones. The CPU library of 0.50 first rounds to one of 65536 evenly spaced
    numbers and so loses those that are smaller than their distance."""
    import bitsandbytes as bnb
    from bitsandbytes.backends.cpu import ops as cpu

    own = cpu._quant_blockwise_fp32_direct

    def by_nearest(a, code, absmax_out, out, blocksize):
        flat = a.reshape(-1)
        blocks = -(-flat.numel() // blocksize)
        padded = torch.zeros(blocks * blocksize)
        padded[: flat.numel()] = flat
        largest = padded.view(blocks, blocksize).abs().max(dim=1)[0]
        scaled = (padded.view(blocks, blocksize) * (1 / largest.clamp(min=1e-38))[:, None]).clamp(-1, 1)
        out.copy_(torch.bucketize(scaled, (code[:-1] + code[1:]) / 2).reshape(-1)[: flat.numel()].view(a.shape))
        absmax_out.copy_(largest)

    cpu._quant_blockwise_fp32_direct = by_nearest if nearest else own
    try:
        return by_torch(lambda p: bnb.optim.AdamW8bit(p, weight_decay=0.1), torch.float32)(values, gradients, lrs)
    finally:
        cpu._quant_blockwise_fp32_direct = own


def compare_apollo(driver):
    """The projections are ours: theirs come from torch's own generator."""
    from apollo_torch import APOLLOAdamW
    from apollo_torch.random_projector import GradientProjector

    good = True
    for options, theirs in (
        ({}, {}),
        ({"renew_every": 30}, {"update_proj_gap": 30}),
        ({"rank": 1, "scaling": "tensor", "scale": 128}, {"rank": 1, "scale_type": "tensor", "scale": 128}),
    ):
        worst = 0.0
        for seed in SEEDS:
            values, gradients = problem(seed)
            lrs = rates(1e-1)  # less would move little more than f32 values are rounded by
            own = {"name": "apollo", "rank": 8, "eps": 1e-6} | options
            found = ours(driver, own, values, gradients, lrs)
            uses = {}

            def take(projector, gradient, proj_type):
                name = list(values)[projector.seed - 1]
                use = uses[name] = uses.get(name, -1) + 1
                projector.ortho_matrix = found[f"projection.{use}.{name}"].to(gradient.dtype)

            GradientProjector.update_ortho_matrix = take
            low = {"rank": 8, "update_proj_gap": 200, "scale": 1, "proj": "random", "proj_type": "std",
                   "scale_type": "channel"} | theirs

            def make(parameters):
                matrices = [p for p, name in zip(parameters, values) if p.ndim == 2 and "embed" not in name]
                rest = [p for p in parameters if not any(p is one for one in matrices)]
                rule = APOLLOAdamW([{"params": matrices} | low, {"params": rest}], eps=1e-6)
                for i, p in enumerate(parameters, 1):
                    rule.state[p]["seed"] = i
                return rule

            expected, _ = by_torch(make)(values, gradients, lrs)
            matrices = [key for key in values if values[key].ndim == 2 and "embed" not in key]
            worst = max(worst, *(moved(found[f"value.{key}"], expected[key], values[key]) for key in matrices))
        good &= worst <= 1e-5
        print(f"{'ok  ' if worst <= 1e-5 else 'FAIL'} apollo {options}: {worst:.1e} (bound 1e-05)", flush=True)
    return good


WORD = (1 << 64) - 1


def mix(word):
    word = (word + 0x9E3779B97F4A7C15) & WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)


def philox(key, blocks):
    """Philox4x32-10 of the counters (block, 0, 0, 0): an array of (blocks, 4) words."""
    counter = [np.arange(blocks, dtype=np.uint64)] + [np.zeros(blocks, dtype=np.uint64)] * 3
    low = np.uint64(0xFFFFFFFF)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        a, b = counter[0] * np.uint64(0xD2511F53), counter[2] * np.uint64(0xCD9E8D57)
        counter = [(b >> np.uint64(32)) ^ counter[1] ^ np.uint64(k0), b & low,
                   (a >> np.uint64(32)) ^ counter[3] ^ np.uint64(k1), a & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(counter, axis=1)


def stochastically(seed):
    """Rounds to bf16 by the noise of docs/numerics.md."""

    def rounded(step, name, values):
        site = 0xCBF29CE484222325
        for byte in name.encode() + b"\0" + b"stochastic_rounding":
            site = ((site ^ byte) * 0x100000001B3) & WORD
        key = mix(mix(mix(seed) ^ mix(site)) ^ step)
        flat = values.reshape(-1).astype(np.float32)
        words = philox(key, -(-flat.size // 8))
        noise = np.stack([words & np.uint64(0xFFFF), words >> np.uint64(16)], axis=2).reshape(-1)[: flat.size]
        bits = (flat.view(np.uint32).astype(np.uint64) + noise) & np.uint64(0xFFFF0000)
        return bits.astype(np.uint32).view(np.float32).astype(np.float64).reshape(values.shape)

    return rounded


def compare_bf16(driver):
    """Values in bf16 differ where the last bit of f32 decides how the same noise rounds, and from there on."""
    rounded = stochastically(0)
    good = True
    for name, options, lr, reference in (
        ("adamw", {"weight_decay": 0.1}, 1e-2, by_torch(lambda p: torch.optim.AdamW(p, weight_decay=0.1), rounded=rounded)),
        ("sgd", {"weight_decay": 0.1, "momentum": 0.9}, 1e-1,
         by_torch(lambda p: torch.optim.SGD(p, lr=0, weight_decay=0.1, momentum=0.9), rounded=rounded)),
        ("lion", {"weight_decay": 0.1}, 1e-2, lambda *a: lion(*a, rounded=rounded)),
    ):
        first, share, distance = 0.0, 0.0, 0.0
        for seed in SEEDS:
            values, gradients = problem(seed)
            values = {key: value.bfloat16().float() for key, value in values.items()}
            for steps in (2, STEPS):  # the first has a rate of zero
                lrs, used = rates(lr)[:steps], gradients[:steps]
                found = ours(driver, {"name": name, "master": "bf16"} | options, values, used, lrs)
                expected, _ = reference(values, used, lrs)
                assert all(found[f"value.{key}"].dtype == torch.bfloat16 for key in values)
                other = [(found[f"value.{key}"].double() != expected[key]).double().mean().item() for key in values]
                if steps == 2:
                    first = max(first, *other)
                    continue
                share = max(share, *other)
                distance = max(distance, *(moved(found[f"value.{key}"], expected[key], values[key]) for key in values))
        ok = first <= 1e-3 and share <= 1e-2 and distance <= 1e-2
        good &= ok
        print(f"{'ok  ' if ok else 'FAIL'} {name} with master bf16: other bits after 1 update {first:.1e} (bound 1e-03), "
              f"after 100 {share:.1e} (bound 1e-02), parameters {distance:.1e} (bound 1e-02)")
    return good


def compare_8bit(driver):
    """State is equal to the bit after a step, codes nearly all after hundred, where rounding decides between two."""
    good = True
    start = {name: 0.0 for name in ("first", "codes", "moved", "to_f32", "theirs_to_f32")}
    for seed in SEEDS:
        values, gradients = problem(seed)
        for steps in (1, STEPS):
            lrs = rates(1e-2)[-steps:]
            used = gradients[:steps]
            found = ours(driver, {"name": "adamw_8bit", "weight_decay": 0.1}, values, used, lrs)
            expected, rule = bitsandbytes_run(values, used, lrs, nearest=True)
            theirs, _ = bitsandbytes_run(values, used, lrs, nearest=False)
            exact, _ = by_torch(lambda p: torch.optim.AdamW(p, weight_decay=0.1))(values, used, lrs)
            states = list(rule.state.values())
            for (name, value), state in zip(values.items(), states):
                coded = value.numel() >= 4096
                assert coded == (state["state1"].dtype == torch.uint8) == (f"state1.{name}" in found)
                if coded:
                    for kind in ("1", "2"):
                        ours_codes, codes = found[f"state{kind}.{name}"], state[f"state{kind}"].reshape(-1)
                        share = (ours_codes != codes).float().mean().item()
                        key = "first" if steps == 1 else "codes"
                        start[key] = max(start[key], share)
                if steps == STEPS:
                    start["moved"] = max(start["moved"], moved(found[f"value.{name}"], expected[name], value))
                    start["to_f32"] = max(start["to_f32"], moved(found[f"value.{name}"], exact[name], value))
                    start["theirs_to_f32"] = max(start["theirs_to_f32"], moved(theirs[name], exact[name], value))
    for key, bound, what in (
        ("first", 1e-3, "share of codes that differ from bitsandbytes (nearest code) after 1 step"),
        ("codes", 2e-2, "the same after 100 steps"),
        ("moved", 1e-2, "parameters after 100 steps against bitsandbytes (nearest code)"),
        ("to_f32", 0.1, "parameters after 100 steps against AdamW in float64"),
        ("theirs_to_f32", math.inf, "bitsandbytes' CPU library against AdamW in float64"),
    ):
        good &= start[key] <= bound
        print(f"{'ok  ' if start[key] <= bound else 'FAIL'} adamw_8bit: {what}: {start[key]:.1e} (bound {bound})")
    return good


if __name__ == "__main__":
    results = [compare(sys.argv[1]) for compare in (compare_rules, compare_apollo, compare_bf16, compare_8bit)]
    sys.exit(0 if all(results) else 1)
