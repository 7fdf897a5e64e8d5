"""Every checkpoint-N of a run in PEFT (adapter) or transformers (whole model), and its trainer_state.json in transformers.

    checkpoints.py TRAINER MODEL.gguf

One line a comparison; the exit code is 1 when one fails. The model is a tiny random Llama with the tokenizer of the GGUF
file. Half of the run is made by one process, which is asked to stop, and half by two ranks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, TrainerState
from transformers.trainer_utils import get_last_checkpoint

from model import tiny_folder, write_data

failures = 0


def judge(name, holds):
    global failures
    failures += not holds
    print("ok  " if holds else "FAIL", name, flush=True)


def write_recipe(folder, lora):
    recipe = {
        "model": {"base": "model"},
        "data": {"train": {"path": "train.jsonl"}, "valid": {"path": "valid.jsonl"}, "max_length": 128},
        "training": {"steps": 6, "batch": 4, "micro_batch": 2, "precision": "f32"},
        "optimizer": {"lr": 2e-3},
        "eval": {"every": 2},
        "checkpoint": {"every": 1, "keep": 9},
        "output": "run",
    }
    if lora:
        recipe["peft"] = {"method": "lora", "rank": 8, "alpha": 16, "dropout": 0.1}
    with open(os.path.join(folder, "recipe.yaml"), "w") as out:
        json.dump(recipe, out)   # JSON is YAML


def start(trainer, folder, *words):
    environment = {"OMP_WAIT_POLICY": "passive"} | os.environ
    return subprocess.Popen([trainer, "run", "recipe.yaml", *words], cwd=folder, env=environment, text=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def run(trainer, folder, *words):
    started = start(trainer, folder, *words)
    errors = started.communicate()[1]
    if started.returncode != 0:
        sys.exit(f"trainer run {' '.join(words)} ended with {started.returncode}:\n{errors}")


def run_until_stopped(trainer, folder, checkpoint):
    """Asks the run to stop when the checkpoint is there."""
    started = start(trainer, folder)
    while started.poll() is None and not os.path.exists(checkpoint):
        time.sleep(0.001)
    open(os.path.join(os.path.dirname(checkpoint), "STOP"), "w").close()
    errors = started.communicate()[1]
    if started.returncode != 75:
        sys.exit(f"the run to be stopped ended with {started.returncode}:\n{errors}")


def loads_weights(base, checkpoint, lora):
    """Whether the reference library holds the very values of the file after loading, and computes with them."""
    if lora:
        file = load_file(os.path.join(checkpoint, "adapter_model.safetensors"))
        model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32), checkpoint)
        held = {name.replace(".default", ""): value for name, value in model.state_dict().items() if "lora_" in name}
    else:
        file = load_file(os.path.join(checkpoint, "model.safetensors"))
        model = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        held = {name: value for name, value in model.state_dict().items() if name in file or name != "lm_head.weight"}
    equal = held.keys() == file.keys() and all(torch.equal(held[name], file[name]) for name in file)
    with torch.no_grad():
        return equal and bool(torch.isfinite(model(torch.arange(3, 19)[None]).logits).all())


def reads_state(folder, checkpoint, step):
    state = TrainerState.load_from_json(os.path.join(checkpoint, "trainer_state.json"))
    logged = [entry["step"] for entry in state.log_history if "loss" in entry]
    best_is_there = state.best_model_checkpoint is None or os.path.isdir(os.path.join(folder, state.best_model_checkpoint))
    return state.global_step == step and state.max_steps == 6 and logged == list(range(1, step + 1)) and best_is_there


def compare(trainer, folder, lora):
    label = "adapter" if lora else "model"
    write_recipe(folder, lora)
    run_folder = os.path.join(folder, "run")
    run_until_stopped(trainer, folder, os.path.join(run_folder, "checkpoint-2"))
    run(trainer, folder, "--nproc", "2", "--resume")
    for step in range(1, 7):
        checkpoint = os.path.join(run_folder, f"checkpoint-{step}")
        judge(f"{label} of checkpoint-{step} loads", loads_weights(os.path.join(folder, "model"), checkpoint, lora))
        judge(f"trainer_state.json of its checkpoint-{step} is read", reads_state(folder, checkpoint, step))
    judge(f"{label}: transformers finds the newest checkpoint",
          get_last_checkpoint(run_folder) == os.path.join(run_folder, "checkpoint-6"))
    judge(f"{label}: trainer_state.json of the whole run is read", reads_state(folder, run_folder, 6))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("trainer", type=os.path.abspath)
    arguments.add_argument("model", type=os.path.abspath)
    given = arguments.parse_args()
    for lora in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            tiny_folder(os.path.join(folder, "model"), given.model, 0)
            write_data(os.path.join(folder, "train.jsonl"), 24, 1)
            write_data(os.path.join(folder, "valid.jsonl"), 6, 2)
            compare(given.trainer, folder, lora)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
