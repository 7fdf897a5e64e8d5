#include <gtest/gtest.h>

#include "configs/yaml.h"
#include "trainer/recipe.h"

namespace trainer {
namespace {

const std::string minimal = "model: {base: m}\ndata: {train: {path: t.jsonl}}\noutput: o\n";

std::string complaints_of(const std::string& text) {
    Complaints complaints;
    read_recipe(parse_yaml(text, "r.yaml"), complaints);
    std::vector<std::string> sentences;
    for (const Error& error : complaints.in_order()) {
        EXPECT_EQ(error.code(), Exit::bad_recipe) << text;
        sentences.emplace_back(error.what());
    }
    return join(sentences, "\n");
}

TEST(RecipeMistakes, OneEach) {
    const std::string base = "model: {base: m}\noutput: o\n";
    const std::string data = "data: {train: {path: t}}\n";
    const std::pair<std::string, std::string> cases[] = {
        {minimal + "device: gpu",
         "4:9: device: expected auto, cpu or cuda, found the string \"gpu\"; did you mean cpu?"},
        {minimal + "task: dpo", "4:7: task: dpo is not available in this version; expected sft"},
        {minimal + "task: [sft]", "4:7: task: expected sft, found a list"},
        {minimal + "otput: x", "4:1: otput: unknown key; did you mean output?"},
        {minimal + "checkpoint: {every: 0}",
         "4:21: checkpoint.every: expected a number of steps, \"epoch\", or a fraction below 1, found the integer 0"},
        {minimal + "checkpoint: {save_dtype: bf16}",
         "4:14: checkpoint.save_dtype: not available in this version; models are saved in the base's dtype"},
        {minimal + "training: {sharding: weights}",
         "4:22: training.sharding: weights is not available in this version; expected none, optimizer or gradients"},
        {minimal + "training: 3", "4:11: training: expected a map, found the integer 3"},
        {minimal + "training: {step: 3}", "4:12: training.step: unknown key; did you mean steps?"},
        {minimal + "training: {steps: 0}",
         "4:19: training.steps: expected an integer from 1 to 1000000000, found the integer 0"},
        {minimal + "training: {steps: ten}",
         "4:19: training.steps: expected an integer from 1 to 1000000000, found the string \"ten\""},
        {minimal + "training: {epochs: 0}",
         "4:20: training.epochs: expected a number above 0 and at most 1000000, found the integer 0"},
        {minimal + "training: {steps: 3, epochs: 1}",
         "4:30: training.epochs: steps and epochs are both given; keep one of them (steps stands at r.yaml:4:19)"},
        {minimal + "training: {batch: 4, micro_batch: 8}",
         "4:35: training.micro_batch: expected at most batch, which is 4, found 8"},
        {minimal + "training: {micro_batch: most}",
         "4:25: training.micro_batch: expected an integer from 1 to 1000000, or auto, found the string \"most\""},
        {minimal + "training: {micro_batch: 0}",
         "4:25: training.micro_batch: expected an integer from 1 to 1000000, found the integer 0"},
        {minimal + "training: {mlp_chunk: 0}",
         "4:23: training.mlp_chunk: expected an integer of at least 1, found the integer 0"},
        {minimal + "device: cpu\ntraining: {precision: f16}",
         "5:23: training.precision: expected bf16 or f32 with device cpu: f16 is computed on a GPU only"},
        {minimal + "training: {loss_scale: 1024}",
         "4:24: training.loss_scale: has no effect with training.precision bf16, whose gradients need no scale; leave "
         "it out"},
        {minimal + "training: {precision: f16, loss_scale: 1000}",
         "4:40: training.loss_scale: expected a power of two, which changes no bit of a gradient, found 1000"},
        {minimal + "training: {precision: f16, loss_scale: 0.5}",
         "4:40: training.loss_scale: expected a number from 1 to 1000000000000, found the number 0.5"},
        {minimal + "optimizer: {master: bf16}\ntraining: {precision: f16}",
         "4:21: optimizer.master: expected f32 with training.precision f16: an f16 copy of every bf16 weight would be "
         "kept to compute with, with other bits"},
        {minimal + "optimizer: {in_backward: true}\ntraining: {batch: 8, micro_batch: 8, clip_norm: 0, precision: f16}",
         "4:26: optimizer.in_backward: expected false with training.precision f16: whether the gradient fits into f16 "
         "is known when all of it is there, and then the first weights are updated"},
        {minimal + "training: {precision: fp32}",
         "4:23: training.precision: expected f32, bf16 or f16, found the string \"fp32\"; did you mean f32?"},
        {minimal + "training: {recompute: true}",
         "4:23: training.recompute: expected none, norms, block or auto, found true"},
        {minimal + "training: {offload: disk}",
         "4:21: training.offload: expected none, activations or optimizer, found the string \"disk\""},
        {minimal + "training: {offload: activations}",
         "4:21: training.offload: activations needs recompute: block, found none: what is offloaded are the inputs of "
         "blocks, and only then nothing else of a block is kept"},
        {minimal + "training: {grad_dtype: bf16}",
         "4:12: training.grad_dtype: not available in this version; gradients are f32"},
        {minimal + "training: {clip_norm: -1}",
         "4:23: training.clip_norm: expected a number of at least 0, found the integer -1"},
        {minimal + "training: {seed: 1.5}",
         "4:18: training.seed: expected an integer of at least 0, found the number 1.5"},
        {minimal + "optimizer: {name: adam}",
         "4:19: optimizer.name: expected adamw, adamw_8bit, ademamix, sgd, lion, adafactor, muon, apollo, apollo_mini "
         "or "
         "schedule_free_adamw, found the string \"adam\"; did you mean adamw?"},
        {minimal + "optimizer: {name: lion, eps: 1e-8}",
         "4:25: optimizer.eps: is a key of adamw, adamw_8bit, ademamix, adafactor, muon, apollo, apollo_mini, "
         "schedule_free_adamw only; valid keys: name, lr, weight_decay, betas, groups, master, in_backward"},
        {minimal + "optimizer: {name: sgd, momentum: 0, nesterov: true}",
         "4:47: optimizer.nesterov: needs a momentum above 0"},
        {minimal + "optimizer: {name: adafactor, warmup_init: true}",
         "4:43: optimizer.warmup_init: needs relative_step: true"},
        {minimal + "optimizer: {groups: [{match: x}]}", "4:22: optimizer.groups.0: has neither lr nor weight_decay"},
        {minimal + "optimizer: {groups: [{match: a, lr: 1}, {match: '(a', lr: 1}]}",
         "4:49: optimizer.groups.1.match: \"(a\" is no regular expression: Mismatched '(' and ')' in regular "
         "expression"},
        {minimal + "optimizer: {name: muon, adamw_for: '(a'}",
         "4:36: optimizer.adamw_for: \"(a\" is no regular expression: Mismatched '(' and ')' in regular expression"},
        {minimal + "optimizer: {name: muon}\ntraining: {sharding: optimizer}",
         "5:22: training.sharding: expected none with optimizer muon: it makes the update of a matrix orthogonal as a "
         "whole, and sharding cuts parameters"},
        {minimal + "optimizer: {name: adafactor}\ntraining: {sharding: gradients}",
         "5:22: training.sharding: expected none with optimizer adafactor: it takes means over the rows and columns of "
         "a "
         "matrix, and sharding cuts parameters"},
        {minimal + "optimizer: {name: schedule_free_adamw}\nschedule: {name: linear}",
         "5:18: schedule.name: expected constant with optimizer schedule_free_adamw, found linear"},
        {minimal + "optimizer: {name: schedule_free_adamw}\nschedule: {warmup: 4, min_lr_ratio: 0.2}",
         "5:37: schedule.min_lr_ratio: has no effect with optimizer schedule_free_adamw, whose schedule is constant; "
         "leave it out"},
        {minimal + "optimizer: {master: bf16}\ntraining: {precision: f32}",
         "4:21: optimizer.master: expected f32 with training.precision f32: an f32 copy of every bf16 weight would be "
         "kept to compute with, and take more memory than it saves"},
        {minimal + "optimizer: {in_backward: true}\ntraining: {batch: 8, clip_norm: 0}\npeft: {}",
         "4:26: optimizer.in_backward: expected false with peft: an adapter's gradients are small, and there is little "
         "to save"},
        {minimal + "optimizer: {in_backward: true}\ntraining: {batch: 8, micro_batch: 8}",
         "4:26: optimizer.in_backward: expected training.clip_norm 0, found 1: a norm to clip by is known when all "
         "gradients are, and then the first are applied"},
        {minimal + "optimizer: {in_backward: true}\ntraining: {batch: 8, micro_batch: 4, clip_norm: 0}",
         "4:26: optimizer.in_backward: expected a step of one leaf: training.micro_batch is 4 and batch 8, and the sum "
         "of several leaves is known after the last; make them equal"},
        {minimal + "optimizer: {in_backward: true}\ntraining: {batch: 8, clip_norm: 0, sharding: optimizer}",
         "4:26: optimizer.in_backward: expected training.sharding none, found optimizer: what ranks share out is "
         "exchanged first"},
        {minimal + "optimizer: {lr: 0}", "4:17: optimizer.lr: expected a number above 0, found the integer 0"},
        {minimal + "optimizer: {lr: 1e-50}",
         "4:17: optimizer.lr: expected a number whose size f32 holds, from 1.1754944e-38 to 3.4028235e+38 or 0, found "
         "1e-50"},
        {minimal + "optimizer: {lr: 1e39}",
         "4:17: optimizer.lr: expected a number whose size f32 holds, from 1.1754944e-38 to 3.4028235e+38 or 0, found "
         "1e+39"},
        {minimal + "optimizer: {eps: 1e-46}",
         "4:18: optimizer.eps: expected a number whose size f32 holds, from 1.1754944e-38 to 3.4028235e+38 or 0, found "
         "1e-46"},
        {minimal + "optimizer: {weight_decay: 1e-39}",
         "4:27: optimizer.weight_decay: expected a number whose size f32 holds, from 1.1754944e-38 to 3.4028235e+38 or "
         "0, "
         "found 1e-39"},
        {minimal + "optimizer: {groups: [{match: a, lr: 1e-60}]}",
         "4:37: optimizer.groups.0.lr: expected a number whose size f32 holds, from 1.1754944e-38 to 3.4028235e+38 or "
         "0, "
         "found 1e-60"},
        {minimal + "optimizer: {name: adafactor, eps: [1e-80, 1e-3]}",
         "4:36: optimizer.eps.0: expected a number whose size f32 holds, from 1.1754944e-38 to 3.4028235e+38 or 0, "
         "found "
         "1e-80"},
        {minimal + "optimizer: {lr: 1e-4x}",
         "4:17: optimizer.lr: expected a number above 0, found the string \"1e-4x\""},
        {minimal + "optimizer: {betas: [0.9, 1.0]}",
         "4:26: optimizer.betas.1: expected a number from 0 to below 1, found the number 1"},
        {minimal + "optimizer: {state: f32}",
         "4:13: optimizer.state: not available in this version; the rule's name says how its state is kept"},
        {minimal + "peft: {other_base: true}",
         "4:20: peft.other_base: has no effect without continue_from or beside, which name saved adapters; leave it "
         "out"},
        {minimal + "schedule: {name: cosin}",
         "4:18: schedule.name: expected constant, linear, cosine, polynomial, inverse_sqrt, wsd or reduce_on_plateau, "
         "found the string \"cosin\"; did you mean cosine?"},
        {minimal + "training: {steps: 12}\nschedule: {name: cosine, warmup: 2, cycles: 6}",
         "5:45: schedule.cycles: expected at most 5, found 6: each of several takes two steps, and after warm-up the "
         "run has 10"},
        {minimal + "training: {steps: 12}\nschedule: {warmup: 2, cycles: 6}",
         "5:31: schedule.cycles: expected at most 5, found 6: each of several takes two steps, and after warm-up the "
         "run has 10"},
        {minimal + "training: {steps: 1}\nschedule: {name: cosine, warmup: 0, cycles: 2}",
         "5:45: schedule.cycles: expected at most 1, found 2: each of several takes two steps, and after warm-up the "
         "run has 1"},
        {minimal + "schedule: {name: linear, power: 2}",
         "4:26: schedule.power: is a key of polynomial only; valid keys: name, warmup, min_lr_ratio"},
        {minimal + "schedule: {min_lr_ratio: 0, name: constant}",
         "4:12: schedule.min_lr_ratio: is a key of linear, cosine, polynomial, wsd, reduce_on_plateau only; valid "
         "keys: "
         "name, warmup"},
        {minimal + "schedule: {name: wsd, decays: 2}", "4:23: schedule.decays: unknown key; did you mean decay?"},
        {minimal + "schedule: {name: wsd, decay: 1.5}",
         "4:30: schedule.decay: expected a whole number of steps or a fraction below 1, found 1.5"},
        {minimal + "schedule: {name: wsd, decay: 201}",
         "4:30: schedule.decay: a decay of 201 steps is longer than the run of 200"},
        {minimal + "schedule: {name: wsd, decay: 150, warmup: 0.3}",
         "4:18: schedule.name: a warm-up of 60 and a decay of 150 steps are longer than the run of 200"},
        {minimal + "schedule: {name: reduce_on_plateau}",
         "4:18: schedule.name: reduce_on_plateau follows the validation loss, and there is no data.valid; add "
         "validation "
         "data or take another schedule"},
        {minimal + "schedule: {warmup: -0.1}",
         "4:20: schedule.warmup: expected a number from 0 to 1000000000, found the number -0.1"},
        {minimal + "schedule: {warmup: 1.5}",
         "4:20: schedule.warmup: expected a whole number of steps or a fraction below 1, found 1.5"},
        {minimal + "schedule: {warmup: 300}",
         "4:20: schedule.warmup: a warm-up of 300 steps is longer than the run of 200"},
        {minimal + "schedule: {min_lr_ratio: 2}",
         "4:26: schedule.min_lr_ratio: expected a number from 0 to 1, found the integer 2"},
        {minimal + "eval: {every: 0}",
         "4:15: eval.every: expected a number of steps, \"epoch\", or a fraction below 1, found the integer 0"},
        {minimal + "eval: {every: 1.5}",
         "4:15: eval.every: expected a number of steps, \"epoch\", or a fraction below 1, found the number 1.5"},
        {minimal + "logging: {every: 0}",
         "4:18: logging.every: expected an integer of at least 1, found the integer 0"},
        {minimal + "peft: lora", "4:7: peft: expected a map, found the string \"lora\""},
        {minimal + "peft: {method: doar}",
         "4:16: peft.method: expected lora, rslora, dora, pissa, olora, loha, lokr, vera, oft or ia3, found the string "
         "\"doar\"; did you mean "
         "dora?"},
        {minimal + "peft: {method: ia3, rank: 4}", "4:27: peft.rank: ia3 does not read this key; leave it out"},
        {minimal + "peft: {bias: lora}", "4:14: peft.bias: expected none, all or lora_only, found the string \"lora\""},
        {minimal + "peft: {rank_pattern: [3]}",
         "4:22: peft.rank_pattern: expected a map of regular expressions to numbers, found a list"},
        {minimal + "peft: {rank_pattern: {q_proj: 0}}",
         "4:31: peft.rank_pattern.q_proj: expected an integer from 1 to 65536, found the integer 0"},
        {minimal + "peft: {rank: 4}\ntraining: {unfrozen_parameters: [lm_head]}",
         "5:33: training.unfrozen_parameters: with peft the base is frozen; name modules to train beside the adapter "
         "in "
         "peft.modules_to_save"},
        {minimal + "peft: {rank: 0}", "4:14: peft.rank: expected an integer from 1 to 65536, found the integer 0"},
        {minimal + "peft: {alpha: 0}", "4:15: peft.alpha: expected a number above 0, found the integer 0"},
        {minimal + "peft: {dropout: 1}",
         "4:17: peft.dropout: expected a number from 0 to below 1, found the integer 1"},
        {minimal + "peft: {targets: []}",
         "4:17: peft.targets: expected at least one layer, or target_parameters, found an empty list"},
        {minimal + "peft: {exclude: ['']}",
         "4:18: peft.exclude.0: expected a string that is not empty, found the string \"\""},
        {minimal + "peft: {targets: 3}",
         "4:17: peft.targets: expected all-linear, a list of module names, or a regular expression, found the integer "
         "3"},
        {minimal + "peft: {targets: [q_proj, 3]}",
         "4:26: peft.targets.1: expected a string that is not empty (in quotes), found the integer 3"},
        {base, "1:1: data.train: this key is required (what is trained on)"},
        {base + "data: {trian: {path: t}}", "3:7: data.train: this key is required (what is trained on)"},
        {base + "data: {train: t.jsonl}",
         "3:15: data.train: expected a source {path, format, weight} or a list of them, found the string \"t.jsonl\""},
        {base + "data: {train: []}",
         "3:15: data.train: expected a source {path, format, weight} or a list of them, found an empty list"},
        {base + "data: {train: [{path: t}, 3]}", "3:27: data.train.1: expected a map, found the integer 3"},
        {base + "data: {train: {path: t, weight: 0}}",
         "3:33: data.train.weight: expected a number above 0 and at most 1000, found the integer 0"},
        {base + "data: {train: {path: t, format: mesages}}",
         "3:33: data.train.format: expected messages, prompt_completion or text, found the string \"mesages\"; did you "
         "mean messages?"},
        {base + "data: {train: {format: text}}",
         "3:15: data.train.path: this key is required (the file, relative to the working directory)"},
        {base + "data: {train: {path: t}, valid: v}",
         "3:33: data.valid: expected a source {path, format}, or names with a source each, found the string \"v\""},
        {base + "data: {train: {path: t}, valid: {path: v, weight: 2}}",
         "3:43: data.valid.weight: unknown key; valid keys: path, format"},
        {base + "data: {train: {path: t}, valid: {'a b': {path: v}}}",
         "3:34: data.valid: expected a name of letters, digits, '_' and '-' (it becomes part of eval_NAME_loss), found "
         "\"a b\""},
        {base + "data: {train: {path: t}, packing: {strategy: wrapped}}",
         "3:46: data.packing.strategy: wrapped is not available in this version; expected best_fit"},
        {base + "data: {train: {path: t}, packing: 1}",
         "3:35: data.packing: expected true, false or {strategy: best_fit}, found the integer 1"},
        {base + "data: {train: {path: t}, template: chatml}",
         "3:36: data.template: expected tokenizer or the path of a .jinja file, found the string \"chatml\""},
        {base + "data: {train: {path: t}, max_length: 1}",
         "3:38: data.max_length: expected an integer from 2 to 10000000, found the integer 1"},
        {base + "data: {train: {path: t}, overlong: cut}",
         "3:36: data.overlong: expected truncate, drop or error, found the string \"cut\""},
        {"output: o\n" + data, "1:1: model.base: this key is required (hub id, model folder, or .gguf file)"},
        {"model:\noutput: o\n" + data, "1:1: model.base: this key is required (hub id, model folder, or .gguf file)"},
        {"model: m\noutput: o\n" + data, "1:8: model: expected a map, found the string \"m\""},
        {"model: {base: 3}\noutput: o\n" + data,
         "1:15: model.base: expected a string that is not empty (in quotes), found the integer 3"},
        {"model: {base: m, quantize: nf4}\noutput: o\n" + data,
         "1:28: model.quantize: quantised weights are frozen and cannot be trained; add a peft section, or leave the "
         "key out"},
        {"model: {base: m, quantize: nf5}\noutput: o\npeft: {}\n" + data,
         "1:28: model.quantize: there is no \"nf5\"; did you mean \"nf4\"? expected one of: none, stored, nf4, fp4, "
         "int8, fp8"},
        {"model: {base: m, quantize: {format: int8, block_size: 64}}\noutput: o\npeft: {}\n" + data,
         "1:55: model.quantize.block_size: int8 has no such choice; leave the key out"},
        {"model: {base: m, quantize: {format: nf4, block_size: 48}}\noutput: o\npeft: {}\n" + data,
         "1:54: model.quantize.block_size: expected a power of two from 32 to 4096, found 48"},
        {"model: {base: m, dtype: f8}\noutput: o\n" + data,
         "1:25: model.dtype: expected f32, bf16 or f16, found the string \"f8\"; did you mean f32?"},
        {"model: {base: m, config: 3}\noutput: o\n" + data, "1:26: model.config: expected a map, found the integer 3"},
        {"model: {base: ./m}\noutput: m\n" + data, "2:9: output: this is the model's own path; choose another folder"},
        {"model: {base: m}\noutput:\n" + data,
         "2:1: output: expected a string that is not empty, found nothing (null)"},
    };
    int counted = 0;
    for (const auto& [text, message] : cases) {
        const std::string found = complaints_of(text + "\n");
        EXPECT_EQ(found.substr(0, found.find('\n')), "r.yaml:" + message) << text;
        ++counted;
    }
    EXPECT_GE(counted, 60);
}

TEST(RecipeMistakes, AsManyCyclesAsFit) {
    EXPECT_EQ(complaints_of(minimal + "training: {steps: 12}\nschedule: {name: cosine, warmup: 2, cycles: 5}\n"), "");
    EXPECT_EQ(complaints_of(minimal + "training: {steps: 1}\nschedule: {name: cosine, cycles: 1}\n"), "");
}

// A schedule that the optimizer decides is complained about once.
TEST(RecipeMistakes, CyclesWithoutEffectAreNotCounted) {
    EXPECT_EQ(complaints_of(minimal + "training: {steps: 4}\noptimizer: {name: schedule_free_adamw}\n"
                                      "schedule: {cycles: 9}\n"),
              "r.yaml:6:20: schedule.cycles: has no effect with optimizer schedule_free_adamw, whose schedule is "
              "constant; leave it out");
}

// What is not understood is complained about once, whatever its size.
TEST(RecipeMistakes, TheRangeOfF32) {
    EXPECT_EQ(complaints_of(minimal + "optimizer: {lr: .inf}\n"),
              "r.yaml:4:17: optimizer.lr: expected a number above 0, found the number inf");
    EXPECT_EQ(complaints_of(minimal + "optimizer: {weight_decy: 1e99}\n"),
              "r.yaml:4:13: optimizer.weight_decy: unknown key; did you mean weight_decay?");
    for (const std::string number : {"alpha: 1e-46", "alpha: 1e+39", "loraplus_lr_ratio: 1e+39",
                                     "alpha_pattern: {q: 1e-50}", "method: vera, d_initial: -1e+50"}) {
        const std::string text = complaints_of(minimal + "peft: {" + number + "}\n");
        EXPECT_NE(
            text.find(": expected a number whose size f32 holds, from 1.1754944e-38 to 3.4028235e+38 or 0, found " +
                      number.substr(number.rfind(' ') + 1, number.find('}') - number.rfind(' ') - 1)),
            std::string::npos)
            << text;
        EXPECT_TRUE(text.starts_with("r.yaml:4:")) << text;
    }
    for (const std::string value : {"-1e+39", "-1e-50"})
        EXPECT_EQ(complaints_of(minimal + "optimizer: {name: adafactor, decay_rate: " + value + "}\n"),
                  "r.yaml:4:42: optimizer.decay_rate: expected a number whose size f32 holds, from 1.1754944e-38 to "
                  "3.4028235e+38 or 0, found " +
                      value);
}

TEST(RecipeMistakes, AnEmptyListExcludesNothing) {
    Complaints complaints;
    const Recipe recipe = read_recipe(parse_yaml(minimal + "peft: {exclude: []}\n", "r.yaml"), complaints);
    EXPECT_EQ(complaints.size(), 0u);
    EXPECT_FALSE(recipe.peft->adapter.exclude);
    EXPECT_TRUE(resolved(recipe).at("peft").at("exclude").is_null());
}

TEST(RecipeMistakes, AllInOnePass) {
    EXPECT_EQ(
        complaints_of("model: {bas: x}\ndata: {train: {path: 3}}\ntraining: {steps: 3, epochs: 2}\npeft: {rank: x}\n"),
        "r.yaml:1:1: output: this key is required (the folder of the run)\n"
        "r.yaml:1:8: model.base: this key is required (hub id, model folder, or .gguf file)\n"
        "r.yaml:1:9: model.bas: unknown key; did you mean base?\n"
        "r.yaml:2:22: data.train.path: expected a string that is not empty (in quotes), found the integer 3\n"
        "r.yaml:3:30: training.epochs: steps and epochs are both given; keep one of them (steps stands at "
        "r.yaml:3:19)\n"
        "r.yaml:4:14: peft.rank: expected an integer from 1 to 65536, found the string \"x\"");
    EXPECT_EQ(complaints_of(""),
              "r.yaml: model.base: this key is required (hub id, model folder, or .gguf file)\n"
              "r.yaml: data.train: this key is required (what is trained on)\n"
              "r.yaml: output: this key is required (the folder of the run)");
    EXPECT_EQ(complaints_of("- a\n"), "r.yaml:1:1: expected a map, found a list");
}

}   // namespace
}   // namespace trainer
