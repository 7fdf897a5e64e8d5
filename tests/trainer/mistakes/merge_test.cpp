// Mistakes of merge, and of verify adapter.
#include <gtest/gtest.h>

#include "hub/adapter.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/mistakes/mistake.h"
#include "tests/trainer/program.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using Change = std::function<void(const fs::path&)>;

// adapter/: LoRA on one layer of model/, or on its embedding.
void write_small_adapter(const fs::path& folder, float b, const std::string& module = "q_proj", std::int64_t in = 32) {
    const bool embedding = module == "embed_tokens";
    const std::string base = "base_model.model.model.";
    const std::string path =
        base + (embedding ? "embed_tokens.lora_embedding_" : "layers.0.self_attn." + module + ".lora_");
    const std::string end = embedding ? "" : ".weight";
    AdapterConfig config;
    config.base_model = "./model";
    config.targets = {embedding ? "embed_tokens" : "0.self_attn." + module};
    config.rank = 2;
    fs::create_directories(folder / "adapter");
    write_adapter(folder / "adapter", config,
                  {{path + "A" + end, {2, in}, nullptr, std::vector<float>(static_cast<std::size_t>(2 * in), 0.5f)},
                   {path + "B" + end, {32, 2}, nullptr, std::vector<float>(64, b)}});
}

void with_adapter(const fs::path& folder) { write_small_adapter(folder, 0.25f); }

// The adapter, and something else.
Change and_then(const Change& more) {
    return [=](const fs::path& folder) {
        with_adapter(folder);
        more(folder);
    };
}

void quantise(const fs::path& folder) {
    with_adapter(folder);
    ASSERT_EQ(run_program({"export", "bitsandbytes", "model", "--out", "packed"}, folder).code, 0);
}

const std::vector<std::string> merge = {"merge", "adapter", "--out", "merged"};

std::vector<std::string> merge_with(const std::vector<std::string>& more) {
    std::vector<std::string> words = merge;
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

TEST(Mistakes, Merge) {
    check_mistakes({
        {"no folder to write to", {"merge", "adapter"}, {}, 64, "error: --out is required; see trainer merge --help"},
        {"no adapter", merge, {}, 66, "error: adapter: no such adapter folder"},
        {"a base that is gone", merge, and_then(without("model")), 66,
         "error: ./model: no such model folder or .gguf file; adapter/adapter_config.json names it, --base MODEL "
         "names "
         "another"},
        {"no base", merge, and_then(with_key("adapter/adapter_config.json", "base_model_name_or_path", "")), 64,
         "error: adapter/adapter_config.json names no base model; give --base MODEL"},
        {"another base that is not there", merge_with({"--base", "./nowhere"}), with_adapter, 66,
         "error: ./nowhere: no such model folder or .gguf file"},
        {"an adapter of another base", merge,
         [](const fs::path& folder) { write_small_adapter(folder, 1, "q_proj", 48); }, 65,
         "error: adapter: model.layers.0.self_attn.q_proj is 48 → 32 in the adapter, 32 → 32 in the model; it belongs "
         "to another base (./model)"},
        {"a folder that is there", merge, and_then(with_file("merged/notes.txt", "mine")), 73,
         "error: --out: merged is there already and is not an empty folder"},
        {"a folder that cannot be made",
         {"merge", "adapter", "--out", "train.jsonl/merged"},
         with_adapter,
         73,
         "error: --out: train.jsonl/merged cannot be created: Not a directory"},
        {"a token named twice", merge,
         and_then(with_key("adapter/adapter_config.json", "trainable_token_indices", Node::List{7, 2, 7})), 65,
         "error: adapter/adapter_config.json: trainable_token_indices: token 7 is named twice"},
        {"a method that is not known", merge, and_then(with_key("adapter/adapter_config.json", "peft_type", "BOFT")),
         65,
         "error: adapter/adapter_config.json: peft_type \"BOFT\" is not supported (supported: LORA, LOHA, LOKR, VERA, "
         "OFT, IA3)"},
        {"weights as pickle", merge, and_then([](const fs::path& folder) {
             fs::rename(folder / "adapter/adapter_model.safetensors", folder / "adapter/adapter_model.bin");
         }),
         77,
         "error: adapter: only pickled weights (adapter_model.bin), which can run code when loaded; save the adapter "
         "as "
         "safetensors first"},
        {"a quantised base", merge_with({"--base", "packed"}), quantise, 64,
         "error: packed is stored in nf4, into which no adapter can be merged: give --dequantise to merge into its "
         "unpacked weights, with which the adapter was trained, or --into-original MODEL to merge into the model that "
         "it was quantised from"},
        {"a quantised original", merge_with({"--into-original", "packed"}), quantise, 64,
         "error: --into-original: packed is itself stored in nf4; name the model it was quantised from"},
        {"both choices", merge_with({"--dequantise", "--into-original", "model"}), with_adapter, 64,
         "error: --dequantise and --into-original exclude each other"},
        {"two bases", merge_with({"--base", "model", "--into-original", "model"}), with_adapter, 64,
         "error: --base and --into-original exclude each other; the second is what is merged into"},
        {"a plain base unpacked", merge_with({"--dequantise"}), with_adapter, 64,
         "error: --dequantise: ./model is not stored in fewer bits; leave the option out"},
        {"a tied embedding", merge, [](const fs::path& folder) { write_small_adapter(folder, 1, "embed_tokens", 264); },
         64,
         "error: adapter changes the embedding of ./model, whose output layer is that embedding and stays as it was: "
         "give --untie to write an output layer of its own, which makes the model larger"},
        {"a dtype of no model", merge_with({"--dtype", "int8"}), with_adapter, 64,
         "error: --dtype: int8 not in {f32,bf16,f16}; see trainer merge --help"},
        {"a shard of less than a byte", merge_with({"--shard-size", "1e-9"}), with_adapter, 64,
         "error: --shard-size: expected a number from 1e-6 to 1e6, found 1e-9; see trainer merge --help"},
        {"prompts that are not there", merge_with({"--prompts", "nothing.txt"}), with_adapter, 66,
         "error: nothing.txt: there is no such file"},
        {"no prompts", merge_with({"--prompts", "empty.txt"}), and_then(with_file("empty.txt", "\n \n")), 65,
         "error: --prompts: empty.txt has 0 lines with text, expected 1 to 64, one prompt a line"},
        {"nothing to compare with", merge_with({"--no-verify", "--tolerance", "0.1"}), with_adapter, 64,
         "error: --no-verify leaves nothing to do for --prompts and --tolerance"},
        {"values that are not finite", merge, [](const fs::path& folder) { write_small_adapter(folder, 3e38f); }, 80,
         "error: model.layers.0.self_attn.q_proj.weight with the adapter in it holds inf at [0, 0]; such a model "
         "cannot be "
         "used"},
    });
}

TEST(Mistakes, Combine) {
    const std::vector<std::string> one = {"combine", "adapter", "--out", "both"};
    const auto with = [&](const std::vector<std::string>& more) {
        std::vector<std::string> words = one;
        words.insert(words.end(), more.begin(), more.end());
        return words;
    };
    check_mistakes({
        {"no weights", one, with_adapter, 64, "error: --weights is required; see trainer combine --help"},
        {"too many weights", with({"--weights", "0.5,0.5"}), with_adapter, 64,
         "error: --weights: expected 1, one for each adapter, found 2"},
        {"a way that is not known", with({"--weights", "1", "--how", "slerp"}), with_adapter, 64,
         "error: --how: slerp not in {cat,linear,ties,dare_linear,dare_ties}; see trainer combine --help"},
        {"nothing is kept", with({"--weights", "1", "--density", "0"}), with_adapter, 64,
         "error: --density: expected a number from 1e-9 to 1, found 0; see trainer combine --help"},
        {"no adapter", with({"--weights", "1"}), {}, 66, "error: adapter: no such adapter folder"},
        {"a weight that is no number", with({"--weights", "much"}), with_adapter, 64,
         "error: --weights: expected a number from -1e9 to 1e9, found much; see trainer combine --help"},
        {"a density without effect", with({"--weights", "1", "--density", "0.3"}), with_adapter, 64,
         "error: --density: cat has no such choice; leave it out"},
        {"a seed without effect", with({"--weights", "1", "--how", "ties", "--seed", "3"}), with_adapter, 64,
         "error: --seed: ties has no such choice; leave it out"},
        {"files that contradict each other", with({"--weights", "1"}),
         and_then(with_key("adapter/adapter_config.json", "target_modules", Node::List{"v_proj"})), 65,
         "error: adapter: adapter_model.safetensors has tensors of model.layers.0.self_attn.q_proj, which "
         "adapter_config.json does not choose (target_modules [v_proj]); the two files are not of one adapter, or one "
         "was changed"},
        {"a folder that is there", with({"--weights", "1"}), and_then(with_file("both/notes.txt", "mine")), 73,
         "error: --out: both is there already and is not an empty folder"},
    });
}

TEST(Mistakes, VerifyAdapter) {
    check_mistakes({
        {"no adapter", {"verify", "adapter"}, {}, 64, "error: ADAPTER is required; see trainer verify adapter --help"},
        {"no adapter in the folder",
         {"verify", "adapter", "adapter"},
         {},
         66,
         "error: adapter: no such adapter folder"},
        {"an adapter of another base",
         {"verify", "adapter", "adapter"},
         [](const fs::path& folder) { write_small_adapter(folder, 1, "q_proj", 48); },
         65,
         "error: adapter: model.layers.0.self_attn.q_proj is 48 → 32 in the adapter, 32 → 32 in the model; it belongs "
         "to another base (./model)"},
    });
}

}   // namespace
}   // namespace trainer::test
