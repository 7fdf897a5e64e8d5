#!/usr/bin/env python3
"""Learning-rate factors of 1000 updates against transformers' get_scheduler and torch's ReduceLROnPlateau.

usage: schedules.py OPTIMIZER_DRIVER
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import get_scheduler

TOTAL = 1000
LR = 0.25  # a power of two: dividing by it is exact


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)


def reference(name, warmup, arguments):
    rule = optimizer()
    scheduler = get_scheduler(name, rule, warmup, TOTAL, arguments)
    factors = []
    for _ in range(TOTAL):
        factors.append(rule.param_groups[0]["lr"] / LR)
        rule.step()
        scheduler.step()
    return factors


def ours(driver, options, losses=None):
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, content in (("options", options), ("losses", losses)):
            if content is not None:
                files.append(Path(folder) / f"{name}.json")
                files[-1].write_text(json.dumps(content))
        command = [driver, "schedule", files[0], str(TOTAL), *files[1:]]
        return [float(line) for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]


def compare(label, found, expected, skip=0):
    """Both are 0 where one is; relative difference elsewhere."""
    assert len(found) == len(expected) == TOTAL
    worst = max(abs(a - b) / max(abs(b), 1e-3) for a, b in zip(found[skip:], expected[skip:]))
    print(f"{'ok  ' if worst <= 1e-12 else 'FAIL'} {label}: largest relative difference {worst:.1e}")
    return worst <= 1e-12


def plateau(driver):
    good = True
    for seed in range(20):
        draw = random.Random(seed)
        options = {
            "factor": draw.choice([0.1, 0.5, 0.9]),
            "patience": draw.randrange(4),
            "threshold": draw.choice([0.0, 1e-4, 0.05]),
            "cooldown": draw.randrange(4),
            "min_lr_ratio": draw.choice([0.0, 1e-3]),
        }
        losses, level = [], 3.0
        for _ in range(TOTAL):
            level *= draw.choice([0.97, 1.0, 1.001])
            losses.append(level + draw.uniform(0, 0.3))
        rule = optimizer()
        arguments = dict(options, min_lr=options["min_lr_ratio"] * LR, eps=0.0)
        del arguments["min_lr_ratio"]
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(rule, **arguments)
        expected = []
        for loss in losses:
            scheduler.step(loss)
            expected.append(rule.param_groups[0]["lr"] / LR)
        found = ours(driver, {"name": "reduce_on_plateau", "warmup": 0, **options}, losses)
        good &= compare(f"reduce_on_plateau {options}", found, expected)
    return good


def main(driver):
    good = True
    for warmup in (0, 1, 100):
        for ours_options, name, arguments in (
            ({"name": "constant"}, "constant_with_warmup", None),
            ({"name": "linear", "min_lr_ratio": 0}, "linear", None),
            ({"name": "cosine", "min_lr_ratio": 0}, "cosine", None),
            ({"name": "cosine", "min_lr_ratio": 0.1}, "cosine_with_min_lr", {"min_lr_rate": 0.1}),
            ({"name": "cosine", "cycles": 4, "min_lr_ratio": 0}, "cosine_with_restarts", {"num_cycles": 4}),
            ({"name": "cosine", "cycles": 7, "min_lr_ratio": 0}, "cosine_with_restarts", {"num_cycles": 7}),
            ({"name": "polynomial", "power": 2.5, "min_lr_ratio": 0.01}, "polynomial", {"power": 2.5, "lr_end": 0.01 * LR}),
            ({"name": "polynomial", "power": 1, "min_lr_ratio": 1e-3}, "polynomial", {"lr_end": 1e-3 * LR}),
            ({"name": "inverse_sqrt"}, "inverse_sqrt", None),
            ({"name": "inverse_sqrt", "timescale": 300}, "inverse_sqrt", {"timescale": 300}),
        ):
            good &= compare(f"{ours_options}, warm-up {warmup}", ours(driver, {"warmup": warmup, **ours_options}),
                            reference(name, warmup, arguments))
        for shape in ("linear", "cosine", "1-sqrt"):
            for floor in (0, 0.1):
                # With a floor transformers begins the warm-up at the floor, we at 0.
                options = {"name": "wsd", "decay": 150, "decay_shape": shape, "min_lr_ratio": floor, "warmup": warmup}
                arguments = {"num_decay_steps": 150, "decay_type": shape, "min_lr_ratio": floor}
                good &= compare(str(options), ours(driver, options), reference("warmup_stable_decay", warmup, arguments),
                                skip=warmup if floor else 0)
    good &= plateau(driver)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
