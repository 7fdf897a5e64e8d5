// Mistakes in the recipe, as the program reports them (recipe_mistakes_test has every key).
#include <gtest/gtest.h>

#include "tests/support/tiny_model.h"
#include "tests/trainer/mistakes/mistake.h"

namespace trainer::test {
namespace {

TEST(Mistakes, Recipe) {
    const auto edited = with_recipe;
    check_mistakes({
        {"recipe missing", {"run", "recipes/none.yaml"}, {}, 66, "error: recipes/none.yaml: there is no such file"},
        {"recipe is a folder", {"run", "model"}, {}, 66, "error: model: expected a file, found a folder"},
        {"recipe empty", run_recipe, with_file("recipe.yaml", ""), 78,
         "error: recipe.yaml: model.base: this key is required (hub id, model folder, or .gguf file)\nerror: "
         "recipe.yaml: data.train: this key is required (what is trained on)\nerror: recipe.yaml: output: this key is "
         "required (the folder of the run)"},
        {"recipe not UTF-8", run_recipe, with_file("recipe.yaml", "output: \xFF\n"), 78,
         "error: recipe.yaml:1:9: the text is not valid UTF-8 here"},
        {"YAML: open bracket", run_recipe, edited("rank: 4}", "rank: 4"), 78,
         "error: recipe.yaml:7:9: expected '}' or another key of the map"},
        {"YAML: tab", run_recipe, edited("  train:", "\ttrain:"), 78,
         "error: recipe.yaml:3:7: tabs are not allowed as indentation; use spaces"},
        {"YAML: key twice", run_recipe, edited("output: out", "output: out\noutput: other"), 78,
         "error: recipe.yaml:9:1: key \"output\" stands twice, first at 8:1"},
        {"unknown key", run_recipe, edited("max_length", "max_lenght"), 78,
         "error: recipe.yaml:5:3: data.max_lenght: unknown key; did you mean max_length?"},
        {"wrong type", run_recipe, edited("steps: 3", "steps: three"), 78,
         "error: recipe.yaml:7:19: training.steps: expected an integer from 1 to 1000000000, found the string "
         "\"three\""},
        {"out of range", run_recipe, edited("batch: 4", "batch: 0"), 78,
         "error: recipe.yaml:7:29: training.batch: expected an integer from 1 to 1000000, found the integer 0"},
        {"steps and epochs", run_recipe, edited("steps: 3", "steps: 3, epochs: 1"), 78,
         "error: recipe.yaml:7:30: training.epochs: steps and epochs are both given; keep one of them (steps stands at "
         "recipe.yaml:7:19)"},
        {"micro_batch above batch", run_recipe, edited("micro_batch: 2", "micro_batch: 9"), 78,
         "error: recipe.yaml:7:45: training.micro_batch: expected at most batch, which is 4, found 9"},
        {"activations offloaded without recompute", run_recipe, edited("steps: 3", "steps: 3, offload: activations"),
         78,
         "error: recipe.yaml:7:31: training.offload: activations needs recompute: block, found none: what is offloaded "
         "are the inputs of blocks, and only then nothing else of a block is kept"},
        {"output is the model", run_recipe, edited("output: out", "output: model"), 78,
         "error: recipe.yaml:8:9: output: this is the model's own path; choose another folder"},
        {"required keys missing", run_recipe, with_file("recipe.yaml", "task: sft\n"), 78,
         "error: recipe.yaml:1:1: model.base: this key is required (hub id, model folder, or .gguf file)\nerror: "
         "recipe.yaml:1:1: data.train: this key is required (what is trained on)\nerror: recipe.yaml:1:1: output: this "
         "key is required (the folder of the run)"},
        {"several at once", run_recipe, with_file("recipe.yaml", "model: {bse: m}\ntask: ppo\noutput: 3\n"), 78,
         "error: recipe.yaml:1:1: data.train: this key is required (what is trained on)\nerror: recipe.yaml:1:8: "
         "model.base: this key is required (hub id, model folder, or .gguf file)\nerror: recipe.yaml:1:9: model.bse: "
         "unknown key; did you mean base?\nerror: recipe.yaml:2:7: task: expected sft, found the string "
         "\"ppo\"\nerror: recipe.yaml:3:9: output: expected a string that is not empty (in quotes), found the integer "
         "3"},
        {"targets match nothing", run_recipe, edited("rank: 4", "rank: 4, targets: [q_porj]"), 78,
         "error: peft.targets: \"q_porj\" matches no linear layer or embedding of the model; did you mean \"q_proj\"? "
         "it has "
         "down_proj, embed_tokens, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"},
        {"targets: pattern matches nothing", run_recipe, edited("rank: 4", "rank: 4, targets: '.*attention'"), 78,
         "error: peft.targets: the regular expression \".*attention\" matches no linear layer or embedding of the "
         "model as a whole, "
         "such as model.layers.0.self_attn.q_proj; it has down_proj, embed_tokens, gate_proj, k_proj, o_proj, q_proj, "
         "up_proj, "
         "v_proj"},
        {"targets: a name that is no list", run_recipe, edited("rank: 4", "rank: 4, targets: q_proj"), 78,
         "error: peft.targets: the regular expression \"q_proj\" matches no linear layer or embedding of the model as "
         "a whole, such "
         "as model.layers.0.self_attn.q_proj; did you mean [q_proj]? it has down_proj, embed_tokens, gate_proj, "
         "k_proj, o_proj, "
         "q_proj, up_proj, v_proj"},
        {"seed beyond 63 bits", run_recipe, edited("precision: f32", "seed: 18446744073709551615"), 78,
         "error: recipe.yaml:7:54: training.seed: expected an integer from 0 to 9223372036854775807, found the number "
         "18446744073709551616"},
        {"targets: no pattern", run_recipe, edited("rank: 4", "rank: 4, targets: '(q_proj'"), 78,
         "error: peft.targets: \"(q_proj\" is no regular expression: Mismatched '(' and ')' in regular expression"},
        {"warm-up longer than the epochs",
         {"run", "recipe.yaml", "schedule.warmup=500"},
         edited("steps: 3", "epochs: 2"),
         78,
         "error: schedule.warmup: a warm-up of 500 steps is longer than the run, whose epochs are 4 steps"},
        {"warm-up and decay longer than the epochs",
         {"run", "recipe.yaml", "schedule={name: wsd, warmup: 4, decay: 0.5}"},
         edited("steps: 3", "epochs: 2"),
         78,
         "error: schedule: a warm-up of 4 and a decay of 2 steps are longer than the run, whose epochs are 4 steps"},
        {"more cycles than the epochs have room for",
         {"run", "recipe.yaml", "schedule={name: cosine, warmup: 0, cycles: 3}"},
         edited("steps: 3", "epochs: 2"),
         78,
         "error: schedule.cycles: expected at most 2, found 3: each of several takes two steps, and after warm-up the "
         "run, whose epochs are 4 steps, has 4"},
        {"update in the backward pass on two ranks",
         {"run", "recipe.yaml", "--nproc", "2"},
         [](const auto& folder) {
             put_text(folder / "recipe.yaml",
                      "model: {base: ./model}\ndata: {train: {path: train.jsonl}}\noutput: out\noptimizer: "
                      "{in_backward: true}\ntraining: {steps: 3, batch: 4, micro_batch: 4, clip_norm: 0}\n");
         },
         78,
         "error: optimizer.in_backward: a step has one leaf, which one rank computes; start one rank instead of 2"},
        {"a pattern of ranks that matches nothing", run_recipe, edited("rank: 4", "rank: 4, rank_pattern: {q_porj: 8}"),
         78,
         "error: peft.rank_pattern: \"q_porj\" matches none of the adapted layers as a whole or as the end of a path, "
         "such as model.layers.0.self_attn.q_proj; did you mean \"q_proj\"? they are down_proj, gate_proj, k_proj, "
         "o_proj, q_proj, up_proj, v_proj"},
        {"nothing left to adapt", run_recipe, edited("rank: 4", "rank: 4, exclude: '.*'"), 78,
         "error: peft.targets: nothing is left to adapt after exclude, modules_to_save and layers_to_transform"},
        {"nothing left to compress",
         {"run", "recipe.yaml",
          "model.quantize={format: nf4, skip: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]}"},
         {},
         78,
         "error: model.quantize.skip: no weight is left to hold in nf4: skip fewer layers, or leave model.quantize "
         "out"},
        {"a token twice", run_recipe, edited("rank: 4", "rank: 4, trainable_token_indices: [7, 8, 7]"), 78,
         "error: recipe.yaml:6:56: peft.trainable_token_indices: token 7 is named twice"},
        {"no token", run_recipe, edited("rank: 4", "rank: 4, trainable_token_indices: [7, -1]"), 78,
         "error: recipe.yaml:6:60: peft.trainable_token_indices.1: expected an integer of at least 0, found the "
         "integer -1"},
        {"a token outside the vocabulary", run_recipe, edited("rank: 4", "rank: 4, trainable_token_indices: [99999]"),
         78,
         "error: peft.trainable_token_indices: there is no token 99999: model.embed_tokens has rows for the tokens 0 "
         "to 263"},
        {"a name that is a path", run_recipe, edited("rank: 4", "rank: 4, name: a/b"), 78,
         "error: recipe.yaml:6:37: peft.name: \"a/b\" is no name of an adapter: expected letters, digits, - and _, and "
         "not what checkpoints are called"},
        {"two adapters of one name", run_recipe, edited("rank: 4", "rank: 4, beside: {default: adapter}"), 78,
         "error: recipe.yaml:6:49: peft.beside.default: the adapter that is trained has this name too; call one of "
         "them "
         "otherwise (peft.name)"},
        {"an adapter beside that is missing", run_recipe, edited("rank: 4", "rank: 4, beside: {style: nowhere}"), 66,
         "error: nowhere: no such adapter folder"},
        {"a key that the method decides", run_recipe,
         edited("method: lora, rank: 4", "method: pissa, rank: 4, init: gaussian"), 78,
         "error: recipe.yaml:6:38: peft.init: pissa does not read this key; leave it out"},
        {"a key of another method", run_recipe,
         edited("method: lora, rank: 4", "method: vera, rank: 4, rank_pattern: {q_proj: 2}"), 78,
         "error: recipe.yaml:6:45: peft.rank_pattern: vera does not read this key; leave it out"},
        {"a loss scale that rounds", run_recipe, edited("precision: f32", "precision: f16, loss_scale: 3"), 78,
         "error: recipe.yaml:7:76: training.loss_scale: expected a power of two, which changes no bit of a gradient, "
         "found 3"},
    });
}

}   // namespace
}   // namespace trainer::test
