"""Seeded random models of true shapes for bench/compare/gpu.py, as hub checkpoints that both sides read.

    python gpu_model.py SHAPE FOLDER [--layers N]        SHAPE: tiny, 0.5b, 1b, 1.5b, 8b

Writes FOLDER/model (config.json, tokenizer, safetensors in bf16, one shard a block), FOLDER/adapter (a LoRA adapter of
rank 16 on all linear layers in PEFT's format, A and B both random: with B zero no gradient of A would show anything) and
nothing else. Tensors are drawn one at a time, on the GPU where there is one.
"""

import argparse
import json
import os

import torch
from safetensors.torch import save_file

# hidden, layers, heads, key heads, size of a head, intermediate, vocabulary, tied
SHAPES = {
    "tiny": (64, 2, 4, 2, 16, 128, 512, True),
    "0.5b": (896, 24, 14, 2, 64, 4864, 151936, True),
    "1b": (2048, 16, 32, 8, 64, 8192, 128256, True),
    "1.5b": (1536, 28, 12, 2, 128, 8960, 151936, True),
    "8b": (4096, 32, 32, 8, 128, 14336, 128256, False),
}
RANK, ALPHA = 16, 32


def parts(shape):
    """Linear layers of a block: name, outputs, inputs."""
    hidden, _, heads, keys, size, middle, _, _ = SHAPES[shape]
    return [("self_attn.q_proj", heads * size, hidden), ("self_attn.k_proj", keys * size, hidden),
            ("self_attn.v_proj", keys * size, hidden), ("self_attn.o_proj", hidden, heads * size),
            ("mlp.gate_proj", middle, hidden), ("mlp.up_proj", middle, hidden), ("mlp.down_proj", hidden, middle)]


def weights(shape, layers):
    """Parameters of the base without its tied head, and of the adapter's layers."""
    hidden, _, _, _, _, _, vocabulary, tied = SHAPES[shape]
    linear = layers * sum(out * into for _, out, into in parts(shape))
    adapter = layers * sum(RANK * (out + into) for _, out, into in parts(shape))
    return linear + vocabulary * hidden * (1 if tied else 2), adapter


def config(shape, layers):
    hidden, _, heads, keys, size, middle, vocabulary, tied = SHAPES[shape]
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": keys, "head_dim": size, "intermediate_size": middle,
        "vocab_size": vocabulary, "tie_word_embeddings": tied, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
        "torch_dtype": "bfloat16", "bos_token_id": None, "eos_token_id": 256, "pad_token_id": 256,
        "use_cache": False, "initializer_range": 0.02,
    }


def byte_letters():
    """GPT-2's letters for bytes."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in own]
    return {b: chr(b) for b in own} | {b: chr(256 + i) for i, b in enumerate(others)}


def write_tokenizer(folder):
    """One token a byte, so that a row of n letters has n tokens; 256 ends a text."""
    letters = byte_letters()
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    end = {"id": 256, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
           "special": True}
    document = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [end], "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {letters[b]: b for b in range(256)}, "merges": []},
    }
    json.dump(document, open(os.path.join(folder, "tokenizer.json"), "w"))
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|end|>",
               "model_max_length": 131072}, open(os.path.join(folder, "tokenizer_config.json"), "w"))


class Draw:
    """Normal numbers of a seed, as a tensor on the CPU."""

    def __init__(self, seed):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def __call__(self, rows, columns, size, dtype=torch.bfloat16):
        values = torch.randn(rows, columns, generator=self.generator, device=self.device)
        return (values * size).to(dtype).cpu()


def write_model(shape, layers, folder, seed=11):
    os.makedirs(folder, exist_ok=True)
    hidden, _, _, _, _, _, vocabulary, tied = SHAPES[shape]
    draw, index, total = Draw(seed), {}, 0
    count = layers + 1

    def save(number, tensors):
        nonlocal total
        name = f"model-{number:05d}-of-{count:05d}.safetensors"
        save_file(tensors, os.path.join(folder, name), metadata={"format": "pt"})
        for key, value in tensors.items():
            index[key] = name
            total += value.numel() * value.element_size()

    def norm():
        return (1 + draw(1, hidden, 0.1, torch.float32)).reshape(hidden).to(torch.bfloat16)

    for layer in range(layers):
        block = f"model.layers.{layer}."
        tensors = {f"{block}{name}.weight": draw(out, into, into**-0.5) for name, out, into in parts(shape)}
        tensors |= {f"{block}{name}.weight": norm() for name in ("input_layernorm", "post_attention_layernorm")}
        save(layer + 1, tensors)
    ends = {"model.embed_tokens.weight": draw(vocabulary, hidden, 0.02), "model.norm.weight": norm()}
    if not tied:
        ends["lm_head.weight"] = draw(vocabulary, hidden, 0.02)
    save(count, ends)
    json.dump({"metadata": {"total_size": total}, "weight_map": index},
              open(os.path.join(folder, "model.safetensors.index.json"), "w"))
    json.dump(config(shape, layers), open(os.path.join(folder, "config.json"), "w"), indent=1)
    json.dump({"eos_token_id": 256}, open(os.path.join(folder, "generation_config.json"), "w"))
    write_tokenizer(folder)


def write_adapter(shape, layers, folder, base, seed=12):
    os.makedirs(folder, exist_ok=True)
    draw, tensors = Draw(seed), {}
    for layer in range(layers):
        for name, out, into in parts(shape):
            key = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{key}.lora_A.weight"] = draw(RANK, into, into**-0.5, torch.float32)
            tensors[f"{key}.lora_B.weight"] = draw(out, RANK, 0.02, torch.float32)
    save_file(tensors, os.path.join(folder, "adapter_model.safetensors"), metadata={"format": "pt"})
    json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": RANK,
               "lora_alpha": ALPHA, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False, "use_rslora": False,
               "use_dora": False, "init_lora_weights": True, "inference_mode": False,
               "target_modules": sorted(name.split(".")[1] for name, _, _ in parts(shape))},
              open(os.path.join(folder, "adapter_config.json"), "w"), indent=1)


def write(shape, folder, layers=None):
    """Both; the folder is reused where it was finished before."""
    layers = layers or SHAPES[shape][1]
    done = os.path.join(folder, "done")
    said = f"{shape} {layers}"
    if os.path.exists(done) and open(done).read() == said:
        return
    os.makedirs(folder, exist_ok=True)
    model = os.path.abspath(os.path.join(folder, "model"))
    write_model(shape, layers, model)
    write_adapter(shape, layers, os.path.join(folder, "adapter"), model)
    with open(done, "w") as out:
        out.write(said)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int)
    arguments = parser.parse_args()
    write(arguments.shape, arguments.folder, arguments.layers)
