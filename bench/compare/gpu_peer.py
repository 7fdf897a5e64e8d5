"""PyTorch + transformers + PEFT for bench/compare/gpu.py: one process that is told on standard input what to do.

    python gpu_peer.py KIND MODEL ADAPTER ROWS.json      KIND: parts joined by +, of
        eager, compile, liger, recompute, nf4, f32 (all of it), autocast (adapters in f32; else in bf16), cpu

A line `steps N` trains N optimizer steps, `gradients FILE` makes those of the first step and writes them under PEFT's
names; each is answered by one line of JSON. ROWS.json: {"steps": [[{"ids", "labels"} of each row] of each step]}.
Where PEFT is not installed, a plain module of the same maths takes its place and the answers say so.
"""

import json
import sys
import time

import torch
import torch.nn.functional as functional

kind, model_folder, adapter_folder, rows_file = sys.argv[1:5]
kinds = kind.split("+")
on_gpu = torch.cuda.is_available() and "cpu" not in kinds
device = "cuda" if on_gpu else "cpu"
exact = "f32" in kinds
dtype = torch.float32 if exact else torch.bfloat16
torch.backends.cuda.matmul.allow_tf32 = not exact
torch.backends.cudnn.allow_tf32 = not exact
notes = []


class PlainLora(torch.nn.Module):
    """y = W x + scale · B A x, as peft.tuners.lora.Linear computes it."""

    def __init__(self, base, a, b, scale):
        super().__init__()
        self.base_layer = base
        self.lora_A = torch.nn.Parameter(a)
        self.lora_B = torch.nn.Parameter(b)
        self.scale = scale

    def forward(self, x):
        low = functional.linear(functional.linear(x.to(self.lora_A.dtype), self.lora_A), self.lora_B)
        return self.base_layer(x) + (low * self.scale).to(x.dtype)


def plainly_adapted(model):
    from safetensors.torch import load_file

    saved = load_file(f"{adapter_folder}/adapter_model.safetensors", device=device)
    options = json.load(open(f"{adapter_folder}/adapter_config.json"))
    model.requires_grad_(False)
    names = [name.removesuffix(".lora_A.weight") for name in saved if name.endswith(".lora_A.weight")]
    for name in names:
        path = name.removeprefix("base_model.model.")
        parent, _, leaf = path.rpartition(".")
        owner = model.get_submodule(parent)
        wide = torch.float32 if "autocast" in kinds else dtype
        a, b = (saved[f"{name}.lora_{part}.weight"].to(wide) for part in "AB")
        setattr(owner, leaf, PlainLora(getattr(owner, leaf), a, b, options["lora_alpha"] / options["r"]))
    return model


def saved_name(name):
    """A parameter's name as in adapter_model.safetensors."""
    name = name.replace("_orig_mod.", "").replace(".default", "")
    if not name.startswith("base_model.model."):
        name = "base_model.model." + name
    return name if name.endswith(".weight") else name + ".weight"


def make_model():
    from transformers import AutoModelForCausalLM

    if "liger" in kinds:
        from liger_kernel.transformers import apply_liger_kernel_to_llama

        apply_liger_kernel_to_llama()
    more = {}
    if "nf4" in kinds:
        from transformers import BitsAndBytesConfig

        more["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
    if on_gpu:
        more["device_map"] = {"": 0}
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=dtype, attn_implementation="sdpa", **more)
    model.config.use_cache = False
    try:
        from peft import PeftModel

        wide = exact or "autocast" in kinds   # adapters in f32
        model = PeftModel.from_pretrained(model, adapter_folder, is_trainable=True, autocast_adapter_dtype=wide)
    except ImportError:
        notes.append("PEFT is not installed: a plain module of the same maths")
        model = plainly_adapted(model)
    model.train()
    if "recompute" in kinds:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trained = {saved_name(name): p for name, p in model.named_parameters() if p.requires_grad}
    if "compile" in kinds:
        model = torch.compile(model)
    return model, trained


def loss_of(batch):
    rows = torch.tensor([row["ids"] for row in batch], device=device)
    labels = torch.tensor([row["labels"] for row in batch], device=device)
    with torch.autocast(device, torch.bfloat16, enabled="autocast" in kinds):
        return model(input_ids=rows, labels=labels, use_cache=False).loss


def now():
    if not on_gpu:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(begin, end):
    return begin.elapsed_time(end) / 1000 if on_gpu else end - begin


def train(count):
    global at
    marks, losses = [now()], []
    begin = time.perf_counter()
    for _ in range(count):
        loss = loss_of(steps[at % len(steps)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(trained.values()), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        at += 1
        losses.append(loss.detach())
        marks.append(now())
    losses = [float(loss) for loss in losses]   # waits
    answer = {"wall": time.perf_counter() - begin, "losses": losses,
              "seconds": [between(a, b) for a, b in zip(marks, marks[1:])]}
    if on_gpu:
        torch.cuda.empty_cache()   # the others want it
    return answer


def gradients(target):
    from safetensors.torch import save_file

    loss = loss_of(steps[0])
    loss.backward()
    save_file({name: p.grad.float().cpu().contiguous() for name, p in trained.items()}, target)
    optimizer.zero_grad(set_to_none=True)
    return {"loss": float(loss)}


def kernels():
    """The kernels of one step that take most of its time, as (seconds, share, name)."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
        train(1)
    rows = [(e.self_device_time_total if on_gpu else e.self_cpu_time_total, e.key) for e in seen.key_averages()]
    total = sum(time for time, _ in rows) or 1
    return {"kernels": [(time * 1e-6, time / total, name) for time, name in sorted(rows, reverse=True)[:12]]}


steps = json.load(open(rows_file))["steps"]
at = 0
model, trained = make_model()
optimizer = torch.optim.AdamW(list(trained.values()), lr=1e-9, weight_decay=0.0, fused=True)
import transformers   # noqa: E402  the version alone

print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "notes": notes,
                  "cudnn": torch.backends.cudnn.version(), "cuda": torch.version.cuda, "trained": len(trained)}),
      flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] == "steps":
        print(json.dumps(train(int(words[1]))), flush=True)
    elif words[0] == "gradients":
        print(json.dumps(gradients(words[1])), flush=True)
    elif words[0] == "kernels":
        print(json.dumps(kernels()), flush=True)
