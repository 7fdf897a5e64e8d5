"""This trainer beside PyTorch + transformers + PEFT on a GPU: one sitting, the same weights, adapter, tokens and batch.

    python gpu.py TRAINER MODEL_DRIVER SHAPE [--length 4096] [--tokens 8192] [--peers auto | eager compile liger+compile …]
                  [--steps 30] [--warm 10] [--blocks 2] [--masked 0.0] [--set key=value …] [--work FOLDER] [--out FILE]

SHAPE is one of gpu_model.py's, which writes the checkpoint. LoRA r16 with alpha 32 on all linear layers, bf16, no dropout,
nothing recomputed, AdamW, clipping at 1. First the gate: loss and every adapter gradient of a slice of two blocks, ours
and PyTorch's in bf16 beside PyTorch's in f32. Then blocks of steps by turns, ours, a peer, another, ours, …; figures
are medians of the steps after the warm ones. Exit code 1 when the gate or a contender fails. Needs PyTorch and
transformers; PEFT and Liger are used where they are. --device cpu is for trying this script.
"""

import argparse
import importlib.util
import json
import os
import random
import shutil
import statistics
import string
import subprocess
import sys
import tempfile
import threading

import gpu_model

HERE = os.path.dirname(os.path.abspath(__file__))
PEAK = 989e12   # H100 and H200, dense bf16, by the datasheet


class Gpu:
    """Memory in use, clock and power, sampled while it lives. Without nvidia-smi all is 0."""

    FIELDS = "memory.used,clocks.sm,power.draw,temperature.gpu"

    def __init__(self):
        self.samples = []
        self.process = None
        if shutil.which("nvidia-smi"):
            self.process = subprocess.Popen(
                ["nvidia-smi", "-i", "0", f"--query-gpu={self.FIELDS}", "--format=csv,noheader,nounits", "-lms", "200"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            try:
                self.samples.append([float(value) for value in line.split(",")])
            except ValueError:
                continue   # "[N/A]"

    def close(self):
        if self.process:
            self.process.terminate()

    def peak(self, before):
        """Bytes beyond what was in use before."""
        return max(max((sample[0] for sample in self.samples), default=0) * 2**20 - before, 0)

    @staticmethod
    def used_now():
        if not shutil.which("nvidia-smi"):
            return 0
        text = subprocess.run(["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                              capture_output=True, text=True).stdout
        return float(text.split()[0]) * 2**20


class Failed(Exception):
    pass


class Peer:
    """gpu_peer.py as a process that is asked."""

    def __init__(self, args, kind, model, adapter, rows):
        self.before = Gpu.used_now()
        self.errors = open(os.path.join(args.work, f"peer-{kind.replace('+', '-')}.log"), "w+")
        words = [sys.executable, os.path.join(HERE, "gpu_peer.py"), kind + ("+cpu" if args.device == "cpu" else ""),
                 model, adapter, rows]
        environment = {"PYTORCH_ALLOC_CONF": "expandable_segments:True", "HF_HUB_OFFLINE": "1"} | os.environ
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, env=environment)
        self.kind = kind
        self.about = self.answer()

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        raise Failed(f"{self.kind}: {self.errors.read()[-1500:]}")

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def write_rows(path, args, count, seed=5):
    """Rows of exactly `length` tokens: one a letter, and the end."""
    draw = random.Random(seed)
    prompt = int(args.masked * args.length)
    with open(path, "w") as out:
        for _ in range(count):
            text = "".join(draw.choices(string.ascii_letters + string.digits + " .,", k=args.length - 1))
            row = {"prompt": text[:prompt], "completion": text[prompt:]} if prompt else {"text": text}
            out.write(json.dumps(row) + "\n")


def write_recipe(args, folder, rows, steps, name, output):
    path = os.path.join(args.work, name + ".json")
    json.dump({
        "device": args.device,
        "model": {"base": os.path.join(folder, "model"), "dtype": "bf16"},
        "data": {"train": {"path": rows, "format": "prompt_completion" if args.masked else "text"},
                 "max_length": args.length, "packing": False, "train_on": "completion" if args.masked else "all"},
        "peft": {"continue_from": os.path.join(folder, "adapter")},
        "training": {"steps": steps, "batch": args.rows, "micro_batch": args.rows, "precision": "bf16"},
        "optimizer": {"lr": 1e-9}, "checkpoint": {"every": None}, "output": output,
    }, open(path, "w"))
    return path


def run(words, log):
    with open(log, "w+") as out:
        process = subprocess.run(words, stdout=subprocess.PIPE, stderr=out, text=True)
        out.seek(0)
        if process.returncode != 0:
            raise Failed(f"{' '.join(words[:2])} ended with {process.returncode}: {out.read()[-1500:]}")
    return process.stdout


def planned(args, recipe, target):
    """The rows in the order of our steps, as the peers read them."""
    plan = os.path.join(args.work, "plan.json")
    run([args.driver, "plan", recipe, plan], os.path.join(args.work, "plan.log"))
    steps = [[row for leaf in step for row in leaf] for step in json.load(open(plan))]
    wrong = {len(row["ids"]) for step in steps for row in step} - {args.length}
    if wrong:
        raise Failed(f"rows of {wrong} tokens instead of {args.length}")
    json.dump({"steps": steps}, open(target, "w"))
    return target


def gate(args):
    """Whether loss and adapter gradients of two blocks are as near to f32's as PyTorch's own in bf16. What held is not
    looked at again in the same folder."""
    held = os.path.join(args.work, "gate.held")
    case = f"{args.shape} {args.rows} {args.length} {args.masked} {args.device}\n"
    if os.path.exists(held) and open(held).readline() == case:
        args.say(open(held).read()[len(case):])
        return True
    holds, line = look_at_gate(args)
    args.say(line)
    if holds:
        with open(held, "w") as out:
            out.write(case + line)
    return holds


def look_at_gate(args):
    import torch
    from safetensors.torch import load_file

    folder = os.path.join(args.work, "slice")
    gpu_model.write(args.shape, folder, 2)
    data = os.path.join(args.work, "gate.jsonl")
    write_rows(data, args, args.rows)
    recipe = write_recipe(args, folder, data, 1, "gate", os.path.join(args.work, "gate-run"))
    rows = planned(args, recipe, os.path.join(args.work, "gate-rows.json"))
    losses, found = {}, {}
    for kind in ("eager+f32", "eager"):
        peer = Peer(args, kind, os.path.join(folder, "model"), os.path.join(folder, "adapter"), rows)
        target = os.path.join(args.work, f"gate-{kind}.safetensors")
        losses[kind] = peer.ask(f"gradients {target}")["loss"]
        peer.close()
        found[kind] = load_file(target)
    target = os.path.join(args.work, "gate-ours.safetensors")
    losses["ours"] = float(run([args.driver, "gradients", recipe, "-", target], os.path.join(args.work, "gate.log")))
    found["ours"] = {name.removeprefix("gradient."): value for name, value in load_file(target).items()
                     if name.startswith("gradient.")}
    exact = found["eager+f32"]
    if set(exact) != set(found["ours"]):
        raise Failed(f"gradients of other parameters: {sorted(set(exact) ^ set(found['ours']))[:4]}")

    def errors(kind):
        return {name: float((found[kind][name].double() - value.double()).norm() / value.double().norm())
                for name, value in exact.items()}

    cosine = min(float(torch.nn.functional.cosine_similarity(found["ours"][name].double().flatten(),
                                                             value.double().flatten(), 0))
                 for name, value in exact.items())
    ours, peers = errors("ours"), errors("eager")
    ratio = statistics.median(ours[name] / peers[name] for name in ours)
    apart = {kind: abs(losses[kind] - losses["eager+f32"]) for kind in ("ours", "eager")}
    holds = cosine > 0.995 and ratio <= 1.5 and apart["ours"] <= max(5e-3, 1.5 * apart["eager"])
    line = (f"gate, two blocks, {args.rows} x {args.length} tokens: loss {losses['ours']:.6f}, f32 "
            f"{losses['eager+f32']:.6f} (PyTorch bf16 {losses['eager']:.6f}); {len(ours)} adapter gradients: lowest "
            f"cosine {cosine:.5f}, error / PyTorch bf16's error, median {ratio:.2f}, worst error "
            f"{max(ours.values()):.1e} ({max(peers.values()):.1e}): {'holds' if holds else 'DOES NOT HOLD'}")
    return holds, line


def ours(args, folder, data, number):
    name = f"ours-{number}"
    output = os.path.join(args.work, name)
    shutil.rmtree(output, ignore_errors=True)
    recipe = write_recipe(args, folder, data, args.warm + args.steps, name, output)
    gpu, before = Gpu(), Gpu.used_now()
    try:
        text = run([args.trainer, "run", recipe, *args.set], os.path.join(args.work, name + ".log"))
    finally:
        gpu.close()
    lines = [json.loads(line) for line in open(os.path.join(output, "metrics.jsonl"))]
    with open(os.path.join(args.work, name + ".txt"), "w") as out:
        out.write(text)
    shutil.rmtree(output)
    return {"seconds": [line["step_seconds"] for line in lines], "losses": [line["loss"] for line in lines],
            "peak": gpu.peak(before), "clocks": [sample[1:] for sample in gpu.samples],
            "about": [line for line in text.splitlines() if line.startswith(("computed on", "memory: planned"))]}


def theirs(args, peers, kind, folder, rows, number):
    if number == 0:
        peers[kind] = Peer(args, kind, os.path.join(folder, "model"), os.path.join(folder, "adapter"), rows)
    gpu = Gpu()
    answer = peers[kind].ask(f"steps {args.warm + args.steps}")
    gpu.close()
    return {"seconds": answer["seconds"], "losses": answer["losses"], "clocks": [sample[1:] for sample in gpu.samples],
            "peak": gpu.peak(peers[kind].before) if number == 0 else 0, "about": []}


def flops_per_token(shape, length):
    _, layers, heads, _, size, _, _, tied = gpu_model.SHAPES[shape]
    base, adapter = gpu_model.weights(shape, layers)
    if not tied:   # looking a token up multiplies nothing
        base -= gpu_model.SHAPES[shape][0] * gpu_model.SHAPES[shape][6]
    return 4 * base + 6 * adapter + 6 * layers * heads * size * length


def report(args, results, failures):
    tokens = args.rows * args.length
    rates = {}
    for kind, blocks in results.items():
        steps = [seconds for block in blocks for seconds in block["seconds"][args.warm:]]
        quarters = statistics.quantiles(steps, n=4)
        rates[kind] = (tokens / statistics.median(steps), [tokens / statistics.median(b["seconds"][args.warm:])
                                                           for b in blocks], quarters)
    best = max((rate for kind, (rate, _, _) in rates.items() if kind != "ours"), default=0)
    work = flops_per_token(args.shape, args.length)
    args.say(f"{'':16} {'tokens/s':>9} {'by block':>17} {'step ms (quartiles)':>24} {'MFU':>5} {'peak GiB':>8} "
             f"{'loss 1':>8}  of best peer")
    for kind, (rate, blocks, quarters) in rates.items():
        args.say(f"{kind:16} {rate:9.0f} {' '.join(f'{b:8.0f}' for b in blocks):>17} "
                 f"{' '.join(f'{q * 1e3:7.1f}' for q in quarters):>24} {100 * rate * work / PEAK:4.1f}% "
                 f"{max(b['peak'] for b in results[kind]) / 2**30:8.1f} {results[kind][0]['losses'][0]:8.4f}  "
                 f"{rate / best if best else 0:.2f}")
    for kind, reason in failures.items():
        args.say(f"{kind:16} FAILED: {reason}")
    for kind, blocks in results.items():
        clocks = [sample for block in blocks for sample in block["clocks"]]
        if clocks:
            middle = [statistics.median(column) for column in zip(*clocks)]
            args.say(f"{kind}: median clock {middle[0]:.0f} MHz, power {middle[1]:.0f} W, {middle[2]:.0f} C")
        for line in blocks[-1]["about"]:
            args.say(f"{kind}: {line}")


def compare(args):
    folder = os.path.join(args.work, "model")
    gpu_model.write(args.shape, folder, args.layers)
    data = os.path.join(args.work, "rows.jsonl")
    write_rows(data, args, args.rows * (args.warm + args.steps))
    recipe = write_recipe(args, folder, data, args.warm + args.steps, "plan", os.path.join(args.work, "unused"))
    rows = planned(args, recipe, os.path.join(args.work, "rows.json"))
    results, failures, peers = {}, {}, {}
    for number in range(args.blocks):
        for kind in ["ours", *args.peers]:
            if kind in failures:
                continue
            try:
                block = (ours(args, folder, data, number) if kind == "ours"
                         else theirs(args, peers, kind, folder, rows, number))
                results.setdefault(kind, []).append(block)
            except (Failed, BrokenPipeError) as problem:
                failures[kind] = str(problem)
    for kind, peer in peers.items():
        if kind not in failures:
            args.say(f"{kind}: " + ", ".join(f"{key} {value}" for key, value in peer.about.items() if value))
            if not args.no_kernels:
                for seconds, share, name in peer.ask("kernels")["kernels"]:
                    args.say(f"    {100 * share:5.1f} % {seconds * 1e3:9.2f} ms  {name[:100]}")
            peer.close()
    report(args, results, failures)
    first = [blocks[0]["losses"][0] for blocks in results.values()] or [0]
    if max(first) - min(first) > 2e-2:
        failures["losses"] = f"{max(first) - min(first):.1e} apart in the first step"
        args.say(f"losses are {failures['losses']}: FAILED")
    return not failures


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("trainer")
    parser.add_argument("driver", help="model_driver, for the order of the rows and our gradients")
    parser.add_argument("shape", choices=gpu_model.SHAPES)
    parser.add_argument("--layers", type=int, help="fewer than the shape has")
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=8192, help="of a step")
    parser.add_argument("--masked", type=float, default=0.0, help="share of each row that is not trained")
    parser.add_argument("--peers", nargs="*", default=["auto"])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm", type=int, default=10)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], help="more of our recipe")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--work")
    parser.add_argument("--out")
    parser.add_argument("--no-gate", action="store_true")
    parser.add_argument("--no-kernels", action="store_true")
    args = parser.parse_args()
    args.rows = max(1, args.tokens // args.length)
    liger = importlib.util.find_spec("liger_kernel") is not None
    if args.peers == ["auto"]:   # what is expected to be the best two
        args.peers = ["liger+compile", "liger"] if liger else ["compile", "eager"]
    return args


def main():
    args = arguments()
    lines = []

    def say(text):
        print(text, flush=True)
        lines.append(text)

    args.say = say
    with tempfile.TemporaryDirectory() as scratch:
        args.work = os.path.abspath(args.work or scratch)
        os.makedirs(args.work, exist_ok=True)
        say(f"$ {' '.join(sys.argv)}")
        say(f"{args.shape}: {args.rows} x {args.length} tokens a step, {args.masked:.0%} of them not trained; "
            f"{args.blocks} blocks of {args.steps} steps after {args.warm}")
        well = False
        try:
            well = args.no_gate or gate(args)
            well = compare(args) if well else False
        except Failed as problem:
            say(f"FAILED: {problem}")
    if args.out:
        with open(args.out, "w") as out:
            out.write("\n".join(lines) + "\n")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
