"""The quickstart against TRL + PEFT: same tokens, order, first adapter and hyper-parameters; the final validation losses
must agree to 1 %.

    /opt/ref/bin/python tests/parity/quickstart.py DRIVER MODEL_FOLDER RUN_FOLDER [--recipe recipes/quickstart.yaml]

DRIVER is tests/parity/model_driver, MODEL_FOLDER SmolLM2 in hub format (tests/parity/model.py --keep writes one),
RUN_FOLDER what ./quickstart.sh left. Takes about ten minutes on two cores.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

import datasets
import torch
import yaml
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


class InOrder(SFTTrainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def leaves(args, folder, recipe, name):
    path, out = os.path.join(folder, name + ".yaml"), os.path.join(folder, name + ".json")
    yaml.safe_dump(recipe, open(path, "w"))
    subprocess.run([args.driver, "plan", path, out], check=True)
    return path, json.load(open(out))


def validation_loss(model, documents):
    model.eval()
    total = count = 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for document in documents:
            labels = torch.tensor(document["labels"][1:])
            logits = model(input_ids=torch.tensor([document["ids"]])).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum").item()
            count += (labels != -100).sum().item()
    return total / count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("model")
    parser.add_argument("run")
    parser.add_argument("--recipe", default="recipes/quickstart.yaml")
    args = parser.parse_args()
    recipe = yaml.safe_load(open(args.recipe))
    rate = float(recipe["optimizer"]["lr"])
    with tempfile.TemporaryDirectory() as folder:
        recipe["output"] = os.path.join(folder, "run")
        path, steps = leaves(args, folder, recipe, "train")
        start = os.path.join(folder, "start.safetensors")
        subprocess.run([args.driver, "gradients", path, "-", start], check=True, stdout=subprocess.DEVNULL)
        valid = dict(recipe, data=dict(recipe["data"], train=recipe["data"]["valid"], valid=None, packing=False),
                     training=dict(recipe["training"], epochs=1, batch=1, micro_batch=1))
        _, held_out = leaves(args, folder, valid, "valid")
        held_out = [d for step in held_out for leaf in step for d in leaf]

        # One row a step: its documents one after another, told apart by their lengths.
        rows = [[d for leaf in step for d in leaf] for step in steps]
        data = datasets.Dataset.from_list([
            {"input_ids": sum((d["ids"] for d in row), []), "labels": sum((d["labels"] for d in row), []),
             "seq_lengths": [len(d["ids"]) for d in row]} for row in rows])
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16, attn_implementation="sdpa")
        options = SFTConfig(
            output_dir=os.path.join(folder, "trl"), per_device_train_batch_size=1, num_train_epochs=1,
            learning_rate=rate, lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": recipe["schedule"]["min_lr_ratio"]},
            warmup_steps=math.ceil(recipe["schedule"]["warmup"] * len(rows)), max_grad_norm=1.0, weight_decay=0.0,
            bf16=True, use_cpu=True, padding_free=True, max_length=None, gradient_checkpointing=False, report_to="none",
            logging_steps=1, save_strategy="no", dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False)
        lora = LoraConfig(r=recipe["peft"]["rank"], lora_alpha=recipe["peft"]["alpha"], target_modules="all-linear",
                          task_type="CAUSAL_LM")
        trainer = InOrder(model, args=options, train_dataset=data, peft_config=lora,
                          processing_class=AutoTokenizer.from_pretrained(args.model))
        first = load_file(start)
        for name, parameter in trainer.model.named_parameters():
            if parameter.requires_grad:
                parameter.data.copy_(first["value." + name.replace(".default", "")])
        before = validation_loss(trainer.model, held_out)
        trainer.train()
        after = validation_loss(trainer.model, held_out)

    ours = [json.loads(line) for line in open(os.path.join(args.run, "metrics.jsonl"))]
    evals = [line["eval_loss"] for line in ours if "eval_loss" in line]
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    losses = [line["loss"] for line in ours if "loss" in line]
    print("step losses, ours / TRL:", " ".join(f"{a:.4f}/{b:.4f}" for a, b in zip(losses, theirs)))
    print(f"validation loss before: {evals[0]:.4f} here, {before:.4f} with TRL + PEFT")
    print(f"validation loss after:  {evals[-1]:.4f} here, {after:.4f} with TRL + PEFT ({evals[-1] / after - 1:+.2%})")
    sys.exit(abs(evals[-1] / after - 1) > 0.01)


if __name__ == "__main__":
    main()
