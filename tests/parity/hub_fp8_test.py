"""8-bit floating-point weights, byte for byte with transformers, and whole repositories both ways.

TRAINER_HUB_DRIVER names the built hub_driver. For our own repositories, which are skipped otherwise: TRAINER the program,
TOKENIZER a folder with tokenizer.json and tokenizer_config.json (of tests/tiny_project)."""

import json
import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, FineGrainedFP8Config, LlamaConfig
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize

from hub_driver import run

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def quantiser(block):
    config = FineGrainedFP8Config(weight_block_size=(block, block))
    return SimpleNamespace(quantization_config=config)


def matrices(dtype, block, seed):
    generator = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.randn(*shape, generator=generator)
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    finite = codes[codes.isfinite()]
    between = (finite[1:] + finite[:-1]) / 2  # ties, among others
    edges = torch.cat([finite, between, torch.nextafter(between, torch.tensor(1e9))])
    cases = {
        "plain": random(2 * block, 3 * block),
        "wide": random(block, 4 * block) * 10 ** (random(block, 1) * 2),
        "zeros": torch.zeros(block, block),
        "some_zeros": random(block, 2 * block) * (torch.arange(2 * block) < block).float(),
        "outliers": random(block, block) ** 9,
        "small": random(block, block) * 1e-30,
        "edges": edges.repeat(block * block // len(edges) + 1)[: block * block].reshape(block, block),
    }
    largest = torch.finfo(dtype).max
    return {name: value.clamp(-largest, largest).to(dtype) for name, value in cases.items()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [32, 64, 128])
def test_fp8(tmp_path, block, dtype, seed):
    values = {f"{name}.weight": value for name, value in matrices(DTYPES[dtype], block, seed).items()}
    save_file(values, tmp_path / "in.safetensors")
    run("quantise", path=tmp_path / "in.safetensors", out=tmp_path / "out.safetensors", dtype=dtype,
        quantize={"format": "fp8", "block_size": block})
    ours = load_file(tmp_path / "out.safetensors")
    hf = quantiser(block)
    for name, value in values.items():
        theirs = Fp8Quantize(hf).convert({name: value})
        scales = theirs[name + "_scale_inv"]
        assert torch.equal(ours[name].view(torch.uint8), theirs[name].view(torch.uint8)), name
        assert torch.equal(ours[name + "_scale_inv"], scales), name
        unpacked = Fp8Dequantize(hf)._dequantize_one(theirs[name], scales, DTYPES[dtype]).float()
        assert torch.equal(ours[name + ".unpacked"], unpacked), name


def tiny_folder(folder, seed):
    torch.manual_seed(seed)
    config = LlamaConfig(hidden_size=64, num_hidden_layers=2, intermediate_size=128, num_attention_heads=4,
                         num_key_value_heads=2, vocab_size=264, tie_word_embeddings=seed % 2 == 0)
    config.dtype = "bfloat16"
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


def exported(base, out):
    out.mkdir()
    run("export_snapshot", base=base, out=out, target="f32")
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize("scales", ["float", "ue8m0"])
@pytest.mark.parametrize("seed", range(2))
def test_repository_of_transformers_form(tmp_path, seed, scales):
    tiny_folder(tmp_path / "base", seed)
    tensors = load_file(tmp_path / "base" / "model.safetensors")
    config = FineGrainedFP8Config(weight_block_size=(32, 32), modules_to_not_convert=["lm_head"], scale_fmt=scales)
    hf = SimpleNamespace(quantization_config=config)
    written, expected = {}, {}
    for name, value in tensors.items():
        expected[name] = value.float()
        if not name.endswith("_proj.weight"):
            written[name] = value
            continue
        parts = Fp8Quantize(hf).convert({name: value})
        written.update({key: part.contiguous() for key, part in parts.items()})
        expected[name] = Fp8Dequantize(hf)._dequantize_one(parts[name], parts[name + "_scale_inv"], torch.float32)
    save_file(written, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    path = tmp_path / "base" / "config.json"
    text = json.loads(path.read_text())
    text["quantization_config"] = {key: value for key, value in config.to_dict().items() if not callable(value)}
    path.write_text(json.dumps(text, default=str))
    ours = exported(tmp_path / "base", tmp_path / "plain")
    assert set(ours) == set(expected)
    for name, value in expected.items():
        assert torch.equal(ours[name], value), name


@pytest.mark.skipif("TRAINER" not in os.environ, reason="TRAINER names the program")
@pytest.mark.parametrize("seed", range(2))
def test_repository_of_ours_opens_in_transformers(tmp_path, seed):
    tiny_folder(tmp_path / "base", seed)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(os.environ["TOKENIZER"], name), tmp_path / "base")
    subprocess.run([os.environ["TRAINER"], "export", "fp8", tmp_path / "base", "--out", tmp_path / "fp8", "--block-size",
                    "32"], check=True)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "fp8", dtype=torch.float32,
        quantization_config=FineGrainedFP8Config(dequantize=True, weight_block_size=(32, 32)))
    ours = exported(tmp_path / "fp8", tmp_path / "plain")
    for name, value in ours.items():
        assert torch.equal(model.get_parameter(name).float(), value), name
    plain = load_file(tmp_path / "base" / "model.safetensors")
    different = sum(not torch.equal(ours[name], value.float()) for name, value in plain.items())
    assert different == 14, "the linear layers are compressed"
