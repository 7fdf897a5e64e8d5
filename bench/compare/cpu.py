"""This trainer beside PyTorch + transformers + PEFT on the CPU: one run, one machine, same model, tokens and batch.

    PYTHON bench/compare/cpu.py TRAINER MODEL_DRIVER MODEL_FOLDER [--rounds N] [--steps N] [--only f32 bf16 autocast nf4] [--out FILE]

MODEL_FOLDER is SmolLM2-135M-Instruct in hub format (tests/parity/model.py --keep writes one). LoRA r16 on all linear
layers, 4 × 512 tokens a step, every token trained, AdamW, clipping at 1. The peer gets SDPA attention, the fused AdamW
and as many threads as there are cores. Programs alternate; figures are medians over rounds. Before anything is timed,
the f32 losses of the first two steps must agree to 1e-4. nf4 is QLoRA: bf16 on a base that bitsandbytes holds in 4 bits
there (its CPU kernels), with double quantisation.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROWS, LENGTH = 4, 512

PEER = r"""
import json, sys, time
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
base, ids_file, mode, steps = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
halves = mode in ("bf16", "nf4")
dtype = torch.bfloat16 if halves else torch.float32
four_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                               bnb_4bit_compute_dtype=dtype)
more = {"quantization_config": four_bits, "device_map": "cpu"} if mode == "nf4" else {}
model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="sdpa", **more)
model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
                       autocast_adapter_dtype=not halves)
model.train()
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-9, fused=True)
rows = json.load(open(ids_file))
for step in range(steps):
    begin = time.perf_counter()
    batch = torch.tensor(rows[step * 4:step * 4 + 4])
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        loss = model(input_ids=batch, labels=batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    print(json.dumps({"loss": loss.item(), "seconds": time.perf_counter() - begin}), flush=True)
"""


def make_rows(folder, model, count):
    """Chats of exactly LENGTH tokens, from real text, as JSONL."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    here = os.path.dirname(os.path.abspath(__file__))
    source = os.path.join(here, "../../recipes/data/devils_dictionary/train.jsonl")
    words = " ".join(json.loads(line)["messages"][1]["content"] for line in open(source)).split()

    def length(messages):
        return len(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"])

    path = os.path.join(folder, "rows.jsonl")
    with open(path, "w") as out:
        at = 0
        for _ in range(count):
            taken = 250
            text = " ".join(words[at:at + taken])
            while length(chat(text)) <= LENGTH - 8:
                text += " " + words[at + taken]
                taken += 1
            while length(chat(text)) < LENGTH:
                text += " a"
            while length(chat(text)) > LENGTH:
                text = text[:-1]
            if length(chat(text)) != LENGTH:
                sys.exit("a row of the wanted length cannot be made")
            at = (at + taken) % (len(words) - 1000)
            out.write(json.dumps({"messages": chat(text)}) + "\n")
    return path


def chat(text):
    return [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": text}]


def recipe(folder, model, rows, mode, steps, name):
    precision = "f32" if mode == "f32" else "bf16"
    path = os.path.join(folder, name + ".yaml")
    json.dump({
        "model": {"base": model, "dtype": precision, "quantize": "nf4" if mode == "nf4" else "none"},
        "data": {"train": {"path": rows}, "max_length": LENGTH, "packing": False, "train_on": "all"},
        "peft": {"rank": 16, "alpha": 32},
        "training": {"steps": steps, "batch": ROWS, "micro_batch": ROWS, "precision": precision},
        "optimizer": {"lr": 1e-9},
        "output": os.path.join(folder, name),
    }, open(path, "w"))
    return path


def timed(command, is_step):
    """Runs a program; seconds until the first line that is_step accepts, peak memory in GiB, standard output."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    first, lines = None, []
    for line in process.stdout:
        if first is None and is_step(line):
            first = time.perf_counter() - begin
        lines.append(line)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed with {status}:\n{''.join(lines)}")
    return first, usage.ru_maxrss / 2**20, lines


def ours(args, folder, rows, mode, name):
    path = recipe(folder, args.model, rows, mode, args.steps, name)
    first, memory, _ = timed([args.trainer, "run", path], lambda line: line.startswith("step 1/"))
    steps = [json.loads(line) for line in open(os.path.join(folder, name, "metrics.jsonl"))]
    return {"first": first, "memory": memory, "seconds": [s["step_seconds"] for s in steps],
            "losses": [s["loss"] for s in steps]}


def peer(args, folder, ids, mode):
    first, memory, lines = timed([sys.executable, "-c", PEER, args.model, ids, mode, str(args.steps)],
                                 lambda line: line.startswith("{"))
    steps = [json.loads(line) for line in lines if line.startswith("{")]
    return {"first": first, "memory": memory, "seconds": [s["seconds"] for s in steps],
            "losses": [s["loss"] for s in steps]}


def ids_in_plan_order(args, folder, rows):
    path = recipe(folder, args.model, rows, "f32", args.steps, "plan")
    out = os.path.join(folder, "plan.json")
    subprocess.run([args.driver, "plan", path, out], check=True)
    ids = [document["ids"] for step in json.load(open(out)) for leaf in step for document in leaf]
    target = os.path.join(folder, "ids.json")
    json.dump(ids, open(target, "w"))
    return target


def rate(runs):
    """tokens/s: median of the steps after the first two, then of the rounds"""
    return statistics.median(ROWS * LENGTH / statistics.median(run["seconds"][2:]) for run in runs)


def middle(runs, key):
    return statistics.median(run[key] for run in runs)


def machine():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores"
    return platform.processor()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trainer")
    parser.add_argument("driver", help="tests/parity/model_driver, for the order of the rows")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", nargs="*", default=["f32", "bf16", "autocast"])
    parser.add_argument("--out")
    args = parser.parse_args()
    args.model = os.path.abspath(args.model)
    report = []
    with tempfile.TemporaryDirectory() as folder:
        rows = make_rows(folder, args.model, ROWS * args.steps)
        ids = ids_in_plan_order(args, folder, rows)
        results = {}
        for number in range(args.rounds):
            for mode in args.only:
                results.setdefault(("ours", mode), []).append(ours(args, folder, rows, mode, f"{mode}-{number}"))
                results.setdefault(("peer", mode), []).append(peer(args, folder, ids, mode))
        if "f32" in args.only:
            pairs = zip(results["ours", "f32"][0]["losses"][:2], results["peer", "f32"][0]["losses"][:2])
            worst = max(abs(a - b) / b for a, b in pairs)
            if worst > 1e-4:
                sys.exit(f"the losses differ by {worst:.2g}: nothing is compared")
            report.append(f"f32 losses of the first two steps agree to {worst:.1e}")
        if "nf4" in args.only:
            first = [results[who, "nf4"][0]["losses"][0] for who in ("ours", "peer")]
            report.append(f"nf4 loss of the first step: {first[0]:.4f} and {first[1]:.4f}")
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        report.append(f"machine: {machine()}; commit {commit}; {args.rounds} rounds of {args.steps} steps, medians")
        report.append(f"{'':10} {'tokens/s':>22} {'peak memory, GiB':>24} {'first step done, s':>24}")
        report.append(f"{'':10} {'ours    peer   ratio':>22} {'ours    peer   ratio':>24} {'ours    peer   ratio':>24}")
        for mode in args.only:
            a, b = results["ours", mode], results["peer", mode]
            cells = [(rate(a), rate(b), "7.0f")] + [(middle(a, k), middle(b, k), "7.2f") for k in ("memory", "first")]
            report.append(f"{mode:10} " + "  ".join(f"{x:{f}} {y:{f}} {x / y:7.2f}" for x, y, f in cells))
        if "nf4" in args.only and "bf16" in args.only:
            pairs = zip(results["ours", "nf4"], results["ours", "bf16"])
            ratios = [statistics.median(a["seconds"][2:]) / statistics.median(b["seconds"][2:]) for a, b in pairs]
            report.append(f"step time here, nf4 / bf16, by round: {' '.join(f'{r:.2f}' for r in ratios)}")
    text = "\n".join(report)
    print(text)
    if args.out:
        with open(args.out, "w") as out:
            out.write(f"$ {' '.join(sys.argv)}\n{text}\n")


if __name__ == "__main__":
    main()
