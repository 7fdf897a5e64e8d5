"""Quantised bases against transformers + PEFT + bitsandbytes: step-1 loss and gradients of an adapter on weights that
bitsandbytes unpacked, and whole repositories in both directions.

    /opt/ref/bin/python tests/parity/quantised.py TRAINER DRIVER MODEL.gguf [--only tiny0 …]

TRAINER is the program, DRIVER that of tests/parity/model_driver.cpp. Prints a line a comparison; exits with 1 when one is
beyond its bound.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from types import SimpleNamespace

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import bitsandbytes
import bitsandbytes.functional as F
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, FineGrainedFP8Config
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize

sys.path.insert(0, os.path.dirname(__file__))
import model as common  # noqa: E402
from model import judge  # noqa: E402

# Without double quantisation: 8-bit codes of scales differ a little from those of its CPU kernels (hub_quantised_test.py).
FORMATS = {
    "nf4": ({"format": "nf4", "double_quant": False}, dict(quant_type="nf4")),
    "fp4": ({"format": "fp4", "double_quant": False}, dict(quant_type="fp4")),
    "nf4-32": ({"format": "nf4", "double_quant": False, "block_size": 32}, dict(quant_type="nf4", blocksize=32)),
    "int8": ("int8", None),
    "int8-embeddings": ({"format": "int8", "embeddings": "int8"}, None),
    "fp8": ({"format": "fp8", "block_size": 32}, "fp8"),
}


def unpacked(weight, options):
    if options == "fp8":
        hf = SimpleNamespace(quantization_config=FineGrainedFP8Config(weight_block_size=(32, 32)))
        parts = Fp8Quantize(hf).convert({"w.weight": weight})
        return Fp8Dequantize(hf)._dequantize_one(parts["w.weight"], parts["w.weight_scale_inv"], weight.dtype)
    if options is None:
        codes, scales, _ = F.int8_vectorwise_quant(weight.half())
        return F.int8_vectorwise_dequant(codes, scales)
    return F.dequantize_4bit(*F.quantize_4bit(weight, **options))


def with_unpacked(model, options, embeddings=False):
    """The model with its linear weights as the library holds them, in f32; with `embeddings` those and the head too."""
    done = set()   # a tied head is one with the embedding
    for name, module in model.named_modules():
        is_linear = isinstance(module, torch.nn.Linear) and (embeddings or name != "lm_head")
        if not is_linear and not (embeddings and isinstance(module, torch.nn.Embedding)):
            continue
        if module.weight.data_ptr() not in done:
            module.weight.data.copy_(unpacked(module.weight.data, options))
            done.add(module.weight.data_ptr())
    return model


def recipe_with(path, quantize, dtype="f32"):
    recipe = json.load(open(path))
    recipe["model"].update(quantize=quantize, dtype=dtype)
    json.dump(recipe, open(path, "w"))


def gradients(label, args, folder, base, data, quantize, model, dtype="f32", double=False):
    recipe = os.path.join(folder, f"{label}.yaml")
    sizes = {"batch": 2, "micro_batch": 1, "max_length": 128} if double else {"batch": 4, "micro_batch": 2}
    common.write_recipe(recipe, base, data, packing=False, lora=True, **sizes)
    recipe_with(recipe, quantize, dtype)
    model = common.with_lora(model)
    torch.manual_seed(3)
    for name, parameter in common.trained(model):
        parameter.data = parameter.data.float()
        if "lora_B" in name:
            parameter.data.normal_(0, 0.02)
    adapter = os.path.join(folder, f"adapter-{label}")
    model.save_pretrained(adapter)
    common.run(args.driver, "plan", recipe, recipe + ".plan")
    loss = float(common.run(args.driver, "gradients", recipe, adapter, recipe + ".grad"))
    step = json.load(open(recipe + ".plan"))[0]
    expected = common.backward_step(model.double() if double else model, step)
    judge(f"{label}: loss of step 1", common.relative(loss, expected), 1e-5)
    common.compare_gradients(label, load_file(recipe + ".grad"), model)


def dense_state(folder, dtype=torch.bfloat16):
    """A repository that transformers loads in 4 or 8 bits, as it unpacks it."""
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", dtype=dtype)
    state = {}
    for name, module in model.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            state[name + ".weight"] = F.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        elif isinstance(module, bitsandbytes.nn.Linear8bitLt):
            scales = module.state.SCB if module.weight.SCB is None else module.weight.SCB
            state[name + ".weight"] = F.int8_vectorwise_dequant(module.weight.data, scales).to(dtype).float()
    assert state, "nothing is quantised"
    return state


def repository_of_transformers(label, args, folder, base, data, config):
    theirs = os.path.join(folder, f"{label}-theirs")
    AutoModelForCausalLM.from_pretrained(base, device_map="cpu", dtype=torch.bfloat16,
                                         quantization_config=config).save_pretrained(theirs)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(base, name), theirs)
    model = common.reference(base)
    for parameter in model.parameters():  # not the angles of the rotary embedding, which are buffers
        parameter.data = parameter.data.bfloat16().float()
    for name, value in dense_state(theirs).items():
        model.get_parameter(name).data.copy_(value)
    gradients(label, args, folder, theirs, data, "stored", model, dtype=None)


def repository_of_ours(label, args, folder, base, kind):
    ours = os.path.join(folder, f"{label}-ours")
    plain = [] if kind == "int8" else ["--no-double-quant"]
    common.run(args.trainer, "export", "bitsandbytes", base, "--out", ours, "--type", kind, *plain)
    loaded = dense_state(ours, torch.float32)
    source = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).state_dict()
    options = FORMATS[kind][1]
    different = sum(not torch.equal(value, unpacked(source[name], options)) for name, value in loaded.items())
    judge(f"{label}: tensors of our repository that transformers unpacks to other values (of {len(loaded)})",
          different, 0)


def comparisons(args, folder):
    data = os.path.join(folder, "data.jsonl")
    common.write_data(data, 40, 1)
    for seed in (0, 1):
        tiny = os.path.join(folder, f"tiny{seed}")
        aligned_folder(tiny, args.gguf, seed)
        name = f"tiny{seed}"
        for kind, (quantize, options) in FORMATS.items():
            yield name, lambda t=tiny, k=kind, q=quantize, o=options, n=name: gradients(
                f"{n}-{k}", args, folder, t, data, q, with_unpacked(common.reference(t), o, "embeddings" in k))
        four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=seed == 0,
                                  bnb_4bit_compute_dtype=torch.bfloat16)
        eight = BitsAndBytesConfig(load_in_8bit=True)
        yield name, lambda t=tiny, n=name, c=four: repository_of_transformers(f"{n}-repository-4bit", args, folder, t, data, c)
        yield name, lambda t=tiny, n=name, c=eight: repository_of_transformers(f"{n}-repository-8bit", args, folder, t, data, c)
        for kind in ("nf4", "fp4", "int8"):
            yield name, lambda t=tiny, n=name, k=kind: repository_of_ours(f"{n}-{k}", args, folder, t, k)
    smol = os.path.join(folder, "smollm2")
    common.smollm2_folder(smol, args.gguf)
    yield "smollm2", lambda: gradients("smollm2-nf4", args, folder, smol, data, FORMATS["nf4"][0],
                                       with_unpacked(common.reference(smol), FORMATS["nf4"][1]), double=True)
    yield "smollm2", lambda: gradients("smollm2-stored", args, folder, args.gguf, data, "stored", common.reference(smol),
                                       double=True)


def aligned_folder(folder, path, seed):
    """Sizes that are multiples of a block: the CPU kernels of bitsandbytes unpack other rows wrongly."""
    torch.manual_seed(seed)
    config = common.LlamaConfig(hidden_size=128, num_hidden_layers=2, intermediate_size=192, num_attention_heads=4,
                                num_key_value_heads=2, head_dim=32, vocab_size=49152, max_position_embeddings=1024,
                                tie_word_embeddings=seed % 2 == 0, rms_norm_eps=1e-5, initializer_range=0.08,
                                rope_parameters={"rope_type": "default", "rope_theta": 30000.0}, bos_token_id=1,
                                eos_token_id=2)
    common.LlamaForCausalLM(config).save_pretrained(folder)
    common.write_tokenizer(folder, path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trainer")
    parser.add_argument("driver")
    parser.add_argument("gguf")
    parser.add_argument("--only", nargs="*", help="tiny0, tiny1, smollm2")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, comparison in comparisons(args, folder):
            if not args.only or name in args.only:
                comparison()
    common.finish()


if __name__ == "__main__":
    main()
