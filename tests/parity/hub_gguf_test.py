"""GGUF: weights bit-exact with the gguf package, tokenizer and config as transformers reads them.

TRAINER_GGUF names the SmolLM2-135M-Instruct GGUF file (Q4_1)."""

import json
import os
import random

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from hub_driver import run

MODEL = os.environ.get("TRAINER_GGUF", "")
pytestmark = pytest.mark.skipif(not MODEL, reason="TRAINER_GGUF is not set")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    run("export_snapshot", base=MODEL, target="f32", out=folder)
    return folder


def test_weights_are_bit_exact(tmp_path):
    run("dequantise_gguf", path=MODEL, target="f32", out=tmp_path / "a.safetensors")
    found = load_file(tmp_path / "a.safetensors")
    reader = gguf.GGUFReader(MODEL)
    assert len(found) == len(reader.tensors)
    for tensor in reader.tensors:
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(found[tensor.name].numpy().view(np.uint32), expected.view(np.uint32)), tensor.name
    run("dequantise_gguf", path=MODEL, target="bf16", out=tmp_path / "b.safetensors")
    for name, value in load_file(tmp_path / "b.safetensors").items():
        assert torch.equal(value, found[name].to(torch.bfloat16)), name


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_every_block_format(tmp_path, kind):
    quantisation = gguf.GGMLQuantizationType[kind]
    values = (np.random.default_rng(3).standard_normal((37, 96)) * 3).astype(np.float32)
    values[5] = 0
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    blocks = gguf.quants.quantize(values, quantisation)
    writer.add_tensor("w.weight", blocks, raw_dtype=quantisation)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    run("dequantise_gguf", path=tmp_path / "a.gguf", target="f32", out=tmp_path / "a.safetensors")
    expected = gguf.quants.dequantize(blocks, quantisation).astype(np.float32)
    assert np.array_equal(load_file(tmp_path / "a.safetensors")["w.weight"].numpy().view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"])
def test_random_bytes_of_every_block_format(tmp_path, kind):
    quantisation = gguf.GGMLQuantizationType[kind]
    elements, size = gguf.GGML_QUANT_SIZES[quantisation]
    blocks = np.random.default_rng(5).integers(0, 256, (41, 3 * size), dtype=np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("w.weight", blocks, raw_dtype=quantisation)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(blocks, quantisation).astype(np.float32)
    run("dequantise_gguf", path=tmp_path / "a.gguf", target="f32", out=tmp_path / "a.safetensors")
    found = load_file(tmp_path / "a.safetensors")["w.weight"].numpy()
    assert found.shape == (41, 3 * elements)
    number = ~np.isnan(expected)  # scales of random bits are NaN now and then
    assert number.mean() > 0.8 and np.array_equal(np.isnan(found), ~number)
    assert np.array_equal(found[number].view(np.uint32), expected[number].view(np.uint32))


def test_model_is_that_of_transformers(exported):
    """Config, names and rotary order: the exported folder and transformers' own GGUF reader give the same model."""
    ours = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(os.path.dirname(MODEL), gguf_file=os.path.basename(MODEL), dtype=torch.float32)
    assert ours.config.tie_word_embeddings and ours.config.rms_norm_eps == 1e-5
    expected = theirs.state_dict()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, expected[name]), name
    ids = torch.tensor([[1, 520, 198, 28120, 2, 198, 1, 9690]])
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)


def random_texts(count):
    generator = random.Random(5)
    alphabets = ["abcdefg ABC", "0123456789", " \t\n\r", "äöüéñçßøÅ", "привет мир", "你好世界", "こんにちは", "مرحبا", "🙂🚀👩‍👩‍👧", ".,;:!?'\"-_()[]{}<>|/\\@#$%^&*+=~`",
                 "'s't're've'm'll'd", "\u00a0\u2003\u200b\u0301", "<|im_start|>", "२३४½Ⅷ"]
    for _ in range(count):
        yield "".join("".join(generator.choices(generator.choice(alphabets), k=generator.randint(1, 8))) for _ in range(generator.randint(0, 9)))
    for _ in range(count // 5):
        yield "".join(chr(c) for c in (generator.choice([generator.randrange(0x20, 0x3000), generator.randrange(0x3000, 0xD800), generator.randrange(0x10000, 0x20000)]) for _ in range(generator.randint(1, 12))))


def test_tokenizer_gives_the_same_ids(exported):
    """Against a tokenizer put together here from the GGUF arrays as SmolLM2's repository has it."""
    fields = gguf.GGUFReader(MODEL).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    expected = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    expected.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    expected.decoder = decoders.ByteLevel()
    expected.add_special_tokens([t for t, kind in zip(tokens, types) if kind == 3])

    plain = Tokenizer.from_file(str(exported / "tokenizer.json"))
    auto = AutoTokenizer.from_pretrained(exported)
    checked = 0
    for text in random_texts(20000):
        ids = expected.encode(text).ids
        assert plain.encode(text).ids == ids, repr(text)
        if checked % 10 == 0:
            assert auto(text)["input_ids"] == ids, repr(text)
            assert plain.decode(ids) == expected.decode(ids)
        checked += 1
    assert checked == 24000
    assert auto.bos_token == "<|im_start|>" and auto.eos_token == "<|im_end|>" and auto.pad_token == "<|im_end|>"
    assert auto.model_max_length == 8192
    assert sorted(auto.all_special_ids) and set(auto.all_special_ids) <= set(range(17))
    messages = [{"role": "user", "content": "Hi"}]
    assert auto.apply_chat_template(messages, tokenize=False, add_generation_prompt=True).endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_shards(exported, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "t").mkdir()
    run("export_snapshot", base=exported, target="bf16", max_shard_bytes=50_000_000, out=tmp_path / "s")
    names = sorted(p.name for p in (tmp_path / "s").iterdir() if p.name.startswith("model"))
    assert names[-1] == "model.safetensors.index.json" and len(names) > 3
    index = json.loads((tmp_path / "s" / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_parameters": 134515008, "total_size": 269030016}
    run("export_snapshot", base=tmp_path / "s", target="bf16", out=tmp_path / "t")
    whole = load_file(tmp_path / "t" / "model.safetensors")
    for name, value in load_file(exported / "model.safetensors").items():
        assert torch.equal(whole[name], value.to(torch.bfloat16)), name
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "s")
    assert model.dtype == torch.bfloat16
