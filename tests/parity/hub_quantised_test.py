"""4-bit and 8-bit weights, byte for byte with bitsandbytes, and whole repositories both ways.

TRAINER_HUB_DRIVER names the built hub_driver."""

import json
import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # the portable kernels as they are written

import bitsandbytes.functional as F
import numpy as np
import pytest
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from bitsandbytes.backends.utils import _get_4bit_code
from safetensors.torch import load_file, save_file

from hub_driver import run

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def matrices(dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.randn(*shape, generator=generator)
    bounds = _get_4bit_code("nf4", torch.device("cpu"))
    ties = torch.cat([(bounds[1:] + bounds[:-1]) / 2, torch.tensor([1.0])]).repeat(16).reshape(4, 64)
    cases = {
        "plain": random(130, 96),
        "wide": random(7, 1024) * 10 ** (random(7, 1) * 2),
        "odd": random(13, 37),
        "one": random(1, 1),
        "zeros": torch.zeros(5, 64),
        "some_zero_blocks": random(64, 64) * (torch.arange(64) % 3 == 0).float()[:, None],
        "ties": ties,
        "denormal": random(8, 64) * 1e-40,
        "tiny": random(8, 64) * 1e-37,
        "large": random(8, 64) * 1e4,
        "outliers": random(32, 128) ** 9,
        "random": random(int(torch.randint(1, 90, (1,), generator=generator)), int(torch.randint(1, 300, (1,), generator=generator))),
    }
    largest = torch.finfo(dtype).max
    return {name: value.clamp(-largest, largest).to(dtype) for name, value in cases.items()}


def nested_absmax(state):
    return state.state2.code[state.absmax.long()] * state.state2.absmax.repeat_interleave(256)[: len(state.absmax)] + state.offset


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [32, 64, 128, 4096])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bit(tmp_path, kind, block, dtype, seed):
    values = matrices(DTYPES[dtype], seed)
    save_file(values, tmp_path / "in.safetensors")
    for nested in (False, True):
        run("quantise", path=tmp_path / "in.safetensors", out=tmp_path / "out.safetensors", dtype=dtype,
            quantize={"format": kind, "block_size": block, "double_quant": nested})
        ours = load_file(tmp_path / "out.safetensors")
        for name, value in values.items():
            codes, state = F.quantize_4bit(value, blocksize=block, quant_type=kind, compress_statistics=False)
            assert torch.equal(ours[name], codes), name
            assert torch.equal(ours[name + ".quant_map"], state.code), name
            text = bytes(ours[f"{name}.quant_state.bitsandbytes__{kind}"].tolist()).decode()
            absmax = state.absmax
            if not nested:
                assert torch.equal(ours[name + ".absmax"], absmax), name
                assert text == json.dumps({k: v for k, v in state.as_dict().items() if not isinstance(v, torch.Tensor)}), name
            else:
                found = json.loads(text)
                offset = found["nested_offset"]
                mean = absmax.double().mean().item()
                assert abs(offset - mean) <= 1e-6 * abs(mean) + 1e-44, (name, offset, mean)
                absmax = check_nested(ours, name, absmax, offset)
            # As the CUDA kernel and the portable one compute it; the library's own CPU kernel starts a block with
            # every row, which is another matrix wherever rows are no whole number of blocks.
            expected = _dequantize_4bit_compute(codes.reshape(-1), absmax, state.code, block, value.shape, value.dtype).reshape(value.shape)
            assert torch.equal(ours[name + ".unpacked"], expected.float()), name


def check_nested(ours, name, absmax, offset):
    """Codes are the nearest entries of the map. (The library's CPU kernel looks them up in a table of 2^16 bins, so it
    picks the neighbour where a bin holds the midpoint; its CUDA kernel compares.)"""
    centred = (absmax - torch.tensor(offset, dtype=torch.float32)).numpy()
    table = ours[name + ".nested_quant_map"].numpy()
    reference = F.create_dynamic_map().numpy()
    assert np.array_equal(table, reference)
    codes, scales = ours[name + ".absmax"].numpy(), ours[name + ".nested_absmax"].numpy()
    library, state = F.quantize_blockwise(torch.from_numpy(centred), blocksize=256)
    assert np.array_equal(scales, state.absmax.numpy()), name
    for start in range(0, len(centred), 256):
        block = centred[start : start + 256]
        scale = np.abs(block).max()
        assert scales[start // 256] == scale
        if scale < 1e-37:  # its reciprocal is no normal number
            continue
        scaled = (block * (np.float32(1) / scale))[:, None]
        found = codes[start : start + 256]
        distance = np.abs(table[None, :] - scaled)
        assert (distance[np.arange(len(found)), found] <= distance.min(1) + 1e-7).all(), name  # the midpoint is rounded
        others = library.numpy()[start : start + 256]
        apart = found != others
        assert (np.abs(distance[np.arange(len(found)), others] - distance.min(1))[apart] <= 2 / 65535).all(), name
    return torch.from_numpy(table[codes] * np.repeat(scales, 256)[: len(codes)] + np.float32(offset))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", DTYPES)
def test_int8(tmp_path, dtype, seed):
    values = {f"{k}.weight": v for k, v in matrices(DTYPES[dtype], seed).items() if k not in ("denormal", "outliers", "wide")}
    save_file(values, tmp_path / "in.safetensors")
    run("quantise", path=tmp_path / "in.safetensors", out=tmp_path / "out.safetensors", dtype=dtype, quantize="int8")
    ours = load_file(tmp_path / "out.safetensors")
    for name, value in values.items():
        codes, scales, _ = F.int8_vectorwise_quant(value.half())
        some = scales > 0   # a row of zeros is 0 · (127 / 0) there
        assert torch.equal(ours[name][some], codes[some]), name
        assert torch.equal(ours[name.removesuffix(".weight") + ".SCB"], scales), name
        expected = F.int8_vectorwise_dequant(codes, scales).to(value.dtype).float()
        assert torch.equal(ours[name + ".unpacked"][some], expected[some]), name
