"""Adapters against PEFT, trainer_state.json against transformers."""

import json

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, TrainerState

from hub_driver import run


def tiny_llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2))


def test_round_trip_through_peft(tmp_path):
    for case, options in enumerate([
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": "all-linear", "use_rslora": True, "lora_alpha": 12.5},
        {"target_modules": r".*\.(gate|up)_proj", "rank_pattern": {r"layers\.1\.mlp\.up_proj": 2}},
        {"target_modules": ["down_proj"], "layers_to_transform": [1]},
    ]):
        given, ours = tmp_path / f"given{case}", tmp_path / f"ours{case}"
        ours.mkdir()
        model = get_peft_model(tiny_llama(), LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **options}))
        torch.manual_seed(case)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        model.save_pretrained(given)
        run("copy_adapter", path=given, out=ours)
        assert (ours / "adapter_model.safetensors").read_bytes() == (given / "adapter_model.safetensors").read_bytes()

        expected = json.loads((given / "adapter_config.json").read_text())
        text = (ours / "adapter_config.json").read_text()
        found = json.loads(text)
        assert text == json.dumps(found, indent=2, sort_keys=True)
        for key, value in found.items():
            if key == "target_modules" and isinstance(value, list):
                assert sorted(value) == sorted(expected[key])
            elif key != "base_model_name_or_path":
                assert value == expected[key], key

        ids = torch.arange(24).reshape(2, 12)
        loaded = PeftModel.from_pretrained(tiny_llama(), ours)
        with torch.no_grad():
            assert torch.equal(loaded(ids).logits, model.eval()(ids).logits)
        state = {n for n in loaded.state_dict() if "lora_" in n}
        assert len(state) == len([n for n in load_file(ours / "adapter_model.safetensors") if "lora_" in n])


def test_trainer_state(tmp_path):
    run("trainer_state", out=tmp_path / "trainer_state.json")
    state = TrainerState.load_from_json(str(tmp_path / "trainer_state.json"))
    assert (state.global_step, state.best_metric, state.log_history[0]["loss"]) == (30, 1.25, 2.5)
    state.save_to_json(str(tmp_path / "again.json"))
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "trainer_state.json").read_bytes()
