// Models that are missing, broken, lying or of a kind that is not supported.
#include <gtest/gtest.h>

#include <limits>

#include "tests/hub/files.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/mistakes/mistake.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using Spoil = std::function<void(const fs::path&)>;

Spoil config(const std::string& key, Node value) { return with_key("model/config.json", key, std::move(value)); }

const std::string weights = "model/model.safetensors";

// Other tensors than those of the config.
Spoil tensors(const std::function<void(std::vector<std::pair<std::string, FileShape>>&)>& change,
              FileDType dtype = FileDType::f32) {
    return [=](const fs::path& folder) {
        auto list = tiny_tensors();
        change(list);
        write_tiny_weights(folder / weights, list, 1, dtype);
    };
}

Spoil gguf(const std::function<std::string(GgufBuilder)>& bytes) {
    return [=](const fs::path& folder) {
        put_text(folder / "m.gguf", bytes(tiny_llama()));
        with_recipe("./model", "./m.gguf")(folder);
    };
}

Spoil chat_template(const std::string& text) { return with_key("model/tokenizer_config.json", "chat_template", text); }

TEST(Mistakes, ModelFolder) {
    check_mistakes({
        {"base missing", run_recipe, with_recipe("./model", "./modle"), 66,
         "error: model.base: there is no file or folder ./modle"},
        {"base not in the cache", run_recipe, with_recipe("./model", "some/model"), 69,
         "error: model some/model is neither a file or folder here nor in the hub cache hub/hub; give the path of a "
         "model folder or a .gguf file, or fill the cache on a machine with network (huggingface-cli download "
         "some/model)"},
        {"base is another file", run_recipe, with_recipe("./model", "./train.jsonl"), 65,
         "error: ./train.jsonl: is a file but no .gguf; expected a model folder, a .gguf file or a repository id"},
        {"no config.json", run_recipe, without("model/config.json"), 66,
         "error: ./model: has no config.json; is it a model folder?"},
        {"config.json malformed", run_recipe, with_file("model/config.json", "{\"model_type\": \"llama\","), 65,
         "error: ./model/config.json:1:24: expected a key in double quotes, found the end of the text"},
        {"config.json is a list", run_recipe, with_file("model/config.json", "[]"), 65,
         "error: ./model/config.json: expected a map, found a list"},
        {"no model_type", run_recipe, config("model_type", Node()), 65,
         "error: ./model/config.json:1:1: key \"model_type\" is missing"},
        {"architecture", run_recipe, config("model_type", "mamba"), 65,
         "error: ./model/config.json:1:55: there is no model_type \"mamba\"; available: llama"},
        {"key missing", run_recipe, config("hidden_size", Node()), 65,
         "error: ./model/config.json:1:1: key \"hidden_size\" is missing"},
        {"key of another type", run_recipe, config("hidden_size", "32"), 65,
         "error: ./model/config.json:1:98: expected an integer, found the string \"32\""},
        {"no layers", run_recipe, config("num_hidden_layers", 0), 65,
         "error: ./model/config.json:1:148: num_hidden_layers is 0, expected an integer from 1 to 10000"},
        {"hidden size of zero", run_recipe, config("hidden_size", 0), 65,
         "error: ./model/config.json:1:98: hidden_size is 0, expected an integer from 1 to 1048576"},
        {"hidden size beyond all models", run_recipe, config("hidden_size", std::int64_t{1} << 40), 65,
         "error: ./model/config.json:1:98: hidden_size is 1099511627776, expected an integer from 1 to 1048576"},
        {"heads do not divide", run_recipe, config("num_key_value_heads", 3), 65,
         "error: ./model/config.json:1:174: num_attention_heads 4 is no multiple of num_key_value_heads 3"},
        {"activation", run_recipe, config("hidden_act", "gelu"), 65,
         "error: ./model/config.json:1:295: hidden_act \"gelu\" is not supported for llama, expected \"silu\""},
        {"activation by the recipe", run_recipe, with_recipe("./model", "./model, config: {hidden_act: relu}"), 65,
         "error: recipe.yaml:1:45: hidden_act \"relu\" is not supported for llama, expected \"silu\""},
        {"config key unknown", run_recipe, with_recipe("./model", "./model, config: {rope_tetha: 5e5}"), 78,
         "error: recipe.yaml:1:33: model.config.rope_tetha: unknown key; did you mean \"rope_theta\"? neither the "
         "config of ./model has it nor does the model read it"},
        {"config keys unknown, one on the command line",
         {"check", "recipe.yaml", "model.config.zzz=1"},
         with_recipe("./model", "./model, config: {sliding_windows: 5, head_dim: 8}"),
         78,
         "error: recipe.yaml:1:33: model.config.sliding_windows: unknown key; neither the config of ./model has "
         "it nor does the model read it\nerror: command line: model.config.zzz=1: model.config.zzz: unknown key; "
         "neither the config of ./model has it nor does the model read it"},
        {"config key of an unknown model", run_recipe,
         with_recipe("./model", "./model, config: {model_type: mamba, head_dmi: 8}"), 78,
         "error: recipe.yaml:1:52: model.config.head_dmi: unknown key; neither the config of ./model has it nor "
         "does the model read it"},
        {"attention dropout", run_recipe, config("attention_dropout", 0.1), 65,
         "error: ./model/config.json:1:421: attention_dropout 0.1 is not supported, expected 0"},
        {"rope scaling", run_recipe,
         [](const fs::path& folder) {
             Node scaling = Node::map();
             scaling.set("rope_type", "spiral");
             config("rope_scaling", scaling)(folder);
         },
         65,
         "error: ./model/config.json:1:430: rope scaling \"spiral\" is not supported; supported are default, linear, "
         "llama3"},
        {"no weights", run_recipe, without(weights), 66,
         "error: ./model: no model.safetensors and no model.safetensors.index.json"},
        {"pickled weights", run_recipe,
         [](const fs::path& folder) { fs::rename(folder / weights, folder / "model/pytorch_model.bin"); }, 77,
         "error: ./model: only pickled weights (pytorch_model.bin), which can run code when loaded; convert them to "
         "safetensors first"},
        {"weights empty", run_recipe, with_file(weights, ""), 65,
         "error: ./model/model.safetensors: the file is empty"},
        {"weights cut", run_recipe, [](const fs::path& folder) { fs::resize_file(folder / weights, 50000); }, 65,
         "error: ./model/model.safetensors: the file is truncated: its tensors need 108160 bytes of data, it has "
         "47968"},
        {"header longer than the file", run_recipe, with_file(weights, raw(std::uint64_t{5000}) + "{}"), 65,
         "error: ./model/model.safetensors: the file is truncated: its header claims 5000 bytes, only 2 follow"},
        {"header without end", run_recipe, with_file(weights, raw(~std::uint64_t{0}) + "{}"), 65,
         "error: ./model/model.safetensors: the header claims 18446744073709551615 bytes, more than the limit of "
         "100000000"},
        {"header no JSON", run_recipe, with_file(weights, safetensors("{\"a\"")), 65,
         "error: ./model/model.safetensors (header):1:5: expected ':', found the end of the text"},
        {"shape and bytes disagree", run_recipe,
         with_file(weights, safetensors(R"({"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}})", "1234")), 65,
         "error: ./model/model.safetensors: tensor a: shape [9] of F32 needs 36 bytes, the header gives it 4"},
        {"tensor missing", run_recipe, tensors([](auto& list) { list.erase(list.begin() + 3); }), 65,
         "error: ./model: 1 tensor of the model is missing: model.layers.0.self_attn.k_proj.weight"},
        {"tensor too many", run_recipe, tensors([](auto& list) {
             list.push_back({"model.extra", {3}});
         }),
         65, "error: ./model: 1 tensor is not part of the model: model.extra"},
        {"wrong shape", run_recipe, tensors([](auto& list) {
             list[2].second = {32, 16};
         }),
         65, "error: ./model: tensor model.layers.0.self_attn.q_proj.weight has shape [32, 16], expected [32, 32]"},
        {"config of another model", run_recipe, config("num_hidden_layers", 1), 65,
         "error: ./model: 9 tensors are not part of the model: model.layers.1.input_layernorm.weight, "
         "model.layers.1.mlp.down_proj.weight, model.layers.1.mlp.gate_proj.weight, model.layers.1.mlp.up_proj.weight, "
         "model.layers.1.post_attention_layernorm.weight, model.layers.1.self_attn.k_proj.weight, "
         "model.layers.1.self_attn.o_proj.weight, model.layers.1.self_attn.q_proj.weight, "
         "model.layers.1.self_attn.v_proj.weight"},
        {"element type", run_recipe, tensors([](auto&) {}, FileDType::f8_e4m3), 65,
         "error: ./model/model.safetensors: tensor model.embed_tokens.weight has dtype F8_E4M3, which cannot be read "
         "as f32",
         false, true},
        {"shard missing", run_recipe,
         [](const fs::path& folder) {
             fs::remove(folder / weights);
             put_text(folder / "model/model.safetensors.index.json",
                      R"({"metadata": {}, "weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}})");
         },
         66,
         "error: ./model/model.safetensors.index.json: the index names shard model-00001-of-00002.safetensors, which "
         "is missing"},
    });
}

TEST(Mistakes, WeightsThatAreNotFinite) {
    const auto spoilt = [](const char* tensor, std::int64_t index, float value) -> Spoil {
        return [=](const fs::path& folder) { set_weights(folder / weights, tensor, index, index + 1, value); };
    };
    const float infinite = std::numeric_limits<float>::infinity();
    const std::string end = "; such a model cannot be used. Its file is damaged, or it diverged when it was trained";
    check_mistakes({
        {"a matrix", run_recipe, spoilt("model.layers.1.mlp.up_proj.weight", 3 * 32 + 7, -infinite), 80,
         "error: ./model: tensor model.layers.1.mlp.up_proj.weight holds -inf at [3, 7] (f32)" + end, false, true},
        {"a vector", run_recipe, spoilt("model.norm.weight", 31, infinite), 80,
         "error: ./model: tensor model.norm.weight holds inf at [31] (f32)" + end, false, true},
    });
}

TEST(Mistakes, Gguf) {
    check_mistakes({
        {"missing", run_recipe, with_recipe("./model", "m.gguf"), 66,
         "error: model.base: there is no file or folder m.gguf"},
        {"another format", run_recipe, gguf([](auto) { return "PK\x03\x04 a zip file"; }), 65,
         "error: ./m.gguf: is not a GGUF file: it does not begin with \"GGUF\""},
        {"cut in the header", run_recipe, gguf([](auto file) { return file.bytes().substr(0, 300); }), 65,
         "error: ./m.gguf: the file ends inside llama.attention.head_count_kv"},
        {"cut in the data", run_recipe,
         gguf([](auto file) { return file.bytes().substr(0, file.bytes().size() - 64); }), 65,
         "error: ./m.gguf: the file is truncated: tensor blk.0.ffn_down.weight needs 512 bytes at offset 2048, the "
         "data has 2528"},
        {"tensor count lies", run_recipe, gguf([](auto file) {
             file.tensor_count = 1'000'000'000'000;
             return file.bytes();
         }),
         65, "error: ./m.gguf: the header claims 1000000000000 tensors, only 3241 bytes follow"},
        {"architecture", run_recipe, gguf([](auto file) {
             std::string bytes = file.bytes();
             return bytes.replace(bytes.find("llama"), 5, "mamba");
         }),
         65, "error: ./m.gguf: GGUF architecture \"mamba\" is not supported (supported: llama)"},
        {"tensor missing", run_recipe, gguf([](auto file) {
             std::string bytes = file.bytes();
             return bytes.replace(bytes.find("blk.0.ffn_up.weight"), 19, "blk.0.ffn_xx.weight");
         }),
         65, "error: ./m.gguf: tensor blk.0.ffn_xx.weight is not part of a llama model"},
        {"element type", run_recipe, gguf([](auto file) {
             file.tensor("blk.0.attn_output.bias", {256}, 10, std::string(84, 'x'));   // Q2_K
             return file.bytes();
         }),
         65,
         "error: ./m.gguf: tensor blk.0.attn_output.bias has type Q2_K, which is not supported (supported: F32, F16, "
         "BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K)"},
    });
}

TEST(Mistakes, Tokenizer) {
    check_mistakes({
        {"missing", run_recipe, without("model/tokenizer.json"), 65, "error: ./model: there is no tokenizer.json"},
        {"malformed", run_recipe, with_file("model/tokenizer.json", "{\"model\": {"), 65,
         "error: ./model/tokenizer.json:1:12: expected a key in double quotes, found the end of the text"},
        {"without model", run_recipe, with_key("model/tokenizer.json", "model", Node()), 65,
         "error: ./model/tokenizer.json:1:1: key \"model\" is missing"},
        {"kind of model", run_recipe,
         [](const fs::path& folder) {
             Node model = Node::map();
             model.set("type", "Unigram");
             with_key("model/tokenizer.json", "model", model)(folder);
         },
         65, "error: tokenizer.json: model Unigram is not supported (BPE is)"},
        {"eos_token unknown", run_recipe, with_key("model/tokenizer_config.json", "eos_token", "</s>"), 65,
         "error: eos_token \"</s>\" is not in the tokenizer's vocabulary"},
        {"data.eos_token unknown", run_recipe, with_recipe("max_length: 256", "eos_token: </s>"), 65,
         "error: data.eos_token \"</s>\" is not in the tokenizer's vocabulary"},
        {"tokens beyond the vocabulary", run_recipe,
         [](const fs::path& folder) {
             TinyShape shape;
             shape.vocabulary = 200;
             config("vocab_size", 200)(folder);
             write_tiny_weights(folder / weights, tiny_tensors(shape), 1);
             put_text(folder / "train.jsonl", tiny_chats(1));
             put_text(folder / "valid.jsonl", tiny_chats(1));
         },
         65,
         "error: train.jsonl:1: token id 259 is beyond the model's vocabulary of 200; tokenizer and model do not "
         "belong together\nerror: valid.jsonl:1: token id 259 is beyond the model's vocabulary of 200; tokenizer and "
         "model do not belong together"},
        {"template with a syntax error", run_recipe, chat_template("{% for m in messages %}{{ m.content }"), 65,
         "error: chat_template:1: found '}' without its opening bracket"},
        {"template without an end", run_recipe, chat_template("{% for m in messages %}{{ m.content }}"), 65,
         "error: chat_template:1: the template ends, but the tag opened in line 1 needs 'endfor'"},
        {"template with an unknown filter", run_recipe, chat_template("{{ messages | frobnicate }}"), 65,
         "error: chat_template:1: there is no filter 'frobnicate'; supported are abs, attr, batch, capitalize, center, "
         "count, d, default, dictsort, e, escape, first, float, forceescape, format, indent, int, items, join, last, "
         "length, list, lower, map, max, min, reject, rejectattr, replace, reverse, round, safe, select, selectattr, "
         "sort, string, sum, title, tojson, trim, truncate, unique, upper, wordcount"},
        {"template file missing", run_recipe, with_recipe("max_length: 256", "template: chat.jinja"), 66,
         "error: data.template: there is no file chat.jinja"},
    });
}

}   // namespace
}   // namespace trainer::test
