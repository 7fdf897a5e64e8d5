"""safetensors against the reference library, both directions."""

import torch
from safetensors.torch import load_file, save_file

from hub_driver import run

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint8, torch.bool]


def tensors(seed):
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for i, dtype in enumerate(DTYPES * 3):
        shape = [[3, 5], [7], [], [0, 4], [2, 3, 2]][(i + seed) % 5]
        values = torch.randn(shape, generator=generator) * 10
        out[f"layer.{(i * 7) % 13}.é{i}" if i % 4 == 0 else f"w{i}"] = (values > 0) if dtype == torch.bool else values.to(dtype)
    return out


def test_writer_is_byte_equal(tmp_path):
    for seed in range(20):
        save_file(tensors(seed), tmp_path / "a.safetensors", metadata={"format": "pt"})
        run("copy_safetensors", path=tmp_path / "a.safetensors", out=tmp_path / "b.safetensors")
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_conversion_is_torchs(tmp_path):
    special = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-45, 3.4e38, 65504.0, 6e-8])
    every_half = torch.arange(0, 65536, dtype=torch.int32).to(torch.int16).view(torch.float16)
    source = {**tensors(1), "special": special, "half": every_half, "brain": every_half.clone().view(torch.bfloat16)}
    save_file(source, tmp_path / "a.safetensors")
    for target, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        run("convert_safetensors", path=tmp_path / "a.safetensors", target=target, out=tmp_path / "b.safetensors")
        found = load_file(tmp_path / "b.safetensors")
        assert found.keys() == source.keys()
        for name, value in source.items():
            expected = value.to(torch.float32).to(dtype)
            assert torch.equal(found[name].isnan(), expected.isnan()), name
            assert torch.equal(found[name].nan_to_num(nan=1.0), expected.nan_to_num(nan=1.0)), name
            assert torch.equal(found[name].signbit()[~expected.isnan()], expected.signbit()[~expected.isnan()]), name
