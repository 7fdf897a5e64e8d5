#!/usr/bin/env python3
"""Loss scale, its count of finite steps and skipped steps against torch.amp.GradScaler.

usage: loss_scaler.py OPTIMIZER_DRIVER
"""

import random
import subprocess
import sys

import torch


def reference(finite, first):
    """(scale, count) after each step; a step is applied when its gradient is finite."""
    scaler = torch.amp.GradScaler("cpu", init_scale=first)
    parameter = torch.nn.Parameter(torch.zeros(2))
    rule = torch.optim.SGD([parameter], lr=1.0)
    out = []
    for good in finite:
        parameter.data.zero_()
        scaler.scale(torch.zeros(1))  # makes the scale's tensor
        parameter.grad = torch.tensor([1.0, 1.0 if good else random.choice((float("inf"), float("nan")))])
        scaler.unscale_(rule)
        scaler.step(rule)
        scaler.update()
        assert (parameter.count_nonzero() > 0) == good
        out.append((scaler.get_scale(), scaler.state_dict()["_growth_tracker"]))
    return out


def ours(driver, finite, first):
    word = "".join("1" if good else "0" for good in finite)
    text = subprocess.run([driver, "scaler", str(first)], input=word, check=True, capture_output=True, text=True).stdout
    return [(float(scale), int(count)) for scale, count in (line.split() for line in text.splitlines())]


def main(driver):
    random.seed(1)
    good = True
    for name, first, finite in (
        ("mostly finite", 65536.0, [random.random() > 1e-3 for _ in range(20000)]),
        ("often not finite", 65536.0, [random.random() > 0.3 for _ in range(60)]),
        ("runs of 1999, 2000, 2001", 2.0, ([True] * 1999 + [False] + [True] * 2000 + [False] + [True] * 2001 + [False]) * 2),
        ("up to the end of f32", 2.0**125, [True] * 9000),
        ("far down", 1.0, [False] * 120 + [True] * 4100),
    ):
        same = ours(driver, finite, first) == reference(finite, first)
        print(f"{'ok  ' if same else 'FAIL'} {name}: {len(finite)} steps, {finite.count(False)} not finite")
        good &= same
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
