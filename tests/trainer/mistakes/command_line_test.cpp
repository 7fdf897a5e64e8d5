// Mistakes on the command line, and of generate.
#include <gtest/gtest.h>

#include "hub/adapter.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/mistakes/mistake.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> ask_adapter = {"generate", "model", "--adapter", "adapter", "--prompt", "x"};

// An adapter of one module with `in` inputs.
std::function<void(const fs::path&)> with_adapter(const std::string& module, std::int64_t in, bool patterns = false) {
    return [=](const fs::path& folder) {
        fs::create_directories(folder / "adapter");
        AdapterConfig config;
        config.base_model = "another/model";
        config.rank = 2;
        config.targets = {"q_proj"};
        if (patterns) config.rank_pattern = {{"q_proj", 3}};
        const std::vector<float> a(static_cast<std::size_t>(2 * in)), b(2 * 32);
        const std::string stem = "base_model.model." + module;
        write_adapter(
            folder / "adapter", config,
            {{stem + ".lora_A.weight", {2, in}, a.data(), {}}, {stem + ".lora_B.weight", {32, 2}, b.data(), {}}});
    };
}

TEST(Mistakes, CommandLine) {
    check_mistakes({
        {"no command",
         {},
         {},
         64,
         "error: no command; available: run, check, preview, verify, generate, combine, merge, export, list, schema, "
         "info"},
        {"unknown command",
         {"rnu", "recipe.yaml"},
         {},
         64,
         "error: there is no command \"rnu\"; did you mean \"run\"? available: run, check, preview, verify, generate, "
         "combine, merge, export, list, schema, info"},
        {"unknown flag",
         {"run", "recipe.yaml", "--fast"},
         {},
         64,
         "error: there is no option --fast; see trainer run --help"},
        {"unknown flag near a known one, with a value",
         {"generate", "model", "--promt", "x"},
         {},
         64,
         "error: there is no option --promt; did you mean \"--prompt\"? see trainer generate --help"},
        {"unknown flag without a command",
         {"--verson"},
         {},
         64,
         "error: there is no option --verson; did you mean \"--version\"? see trainer --help"},
        {"a word too many",
         {"info", "model", "adapter"},
         {},
         64,
         "error: \"adapter\" is one word too many; see trainer info --help"},
        {"two dashes between overrides",
         {"run", "recipe.yaml", "a=1", "--", "b=1"},
         {},
         64,
         "error: leave the -- out; see trainer run --help"},
        {"empty command",
         {""},
         {},
         64,
         "error: there is no command \"\"; available: run, check, preview, verify, generate, combine, merge, export, "
         "list, "
         "schema, "
         "info"},
        {"empty recipe",
         {"run", ""},
         {},
         64,
         "error: RECIPE: expected a recipe, a YAML file, found an empty text; see trainer run --help"},
        {"empty model",
         {"info", ""},
         {},
         64,
         "error: MODEL: expected a hub id, model folder or .gguf file, found an empty text; see trainer info --help"},
        {"run without a recipe", {"run"}, {}, 64, "error: RECIPE is required; see trainer run --help"},
        {"word that is no override",
         {"run", "recipe.yaml", "steps"},
         {},
         64,
         "error: command line: steps: expected key=value"},
        {"override of an unknown key",
         {"run", "recipe.yaml", "optimizer.lrr=1"},
         {},
         78,
         "error: command line: optimizer.lrr=1: optimizer.lrr: unknown key; did you mean lr?"},
        {"override out of range",
         {"check", "recipe.yaml", "optimizer.lr=-1"},
         {},
         78,
         "error: command line: optimizer.lr=-1: optimizer.lr: expected a number above 0, found the integer -1"},
        {"two adapters of one name",
         {"generate", "model", "--adapter", "a/style", "--adapter", "b/style", "--prompt", "x"},
         {},
         64,
         "error: --adapter: two adapters are called \"style\"; give them names: --adapter NAME=FOLDER"},
        {"two adapters of one name, each with a slash",
         {"generate", "model", "--adapter", "a/style/", "--adapter", "b/style/", "--prompt", "x"},
         {},
         64,
         "error: --adapter: two adapters are called \"style\"; give them names: --adapter NAME=FOLDER"},
        {"two adapters that are not there, each with a slash",
         {"generate", "model", "--adapter", "a/", "--adapter", "b/", "--prompt", "x"},
         {},
         66,
         "error: a/: no such adapter folder"},
        {"an adapter without a name",
         {"generate", "model", "--adapter", "a/", "--adapter", "/", "--prompt", "x"},
         {},
         64,
         "error: --adapter: / has no name; give it one: --adapter NAME=FOLDER"},
        {"an adapter without a folder",
         {"generate", "model", "--adapter", "style=", "--prompt", "x"},
         {},
         64,
         "error: --adapter: expected FOLDER or NAME=FOLDER, found \"style=\""},
        {"preview of no rows",
         {"preview", "recipe.yaml", "--rows", "0"},
         {},
         64,
         "error: --rows: expected an integer of at least 1, found 0; see trainer preview --help"},
        {"preview of half a row",
         {"preview", "recipe.yaml", "--rows", "1.5"},
         {},
         64,
         "error: --rows: expected an integer of at least 1, found 1.5; see trainer preview --help"},
        {"preview of more rows than there can be",
         {"preview", "recipe.yaml", "--rows", "9999999999999999999"},
         {},
         64,
         "error: --rows: expected an integer from 1 to 1000000000000000, found 9999999999999999999; see trainer "
         "preview --help"},
        {"option without its value",
         {"preview", "recipe.yaml", "--rows"},
         {},
         64,
         "error: --rows: expected a value, found nothing; see trainer preview --help"},
        {"option twice",
         {"preview", "recipe.yaml", "--rows", "1", "--rows", "2"},
         {},
         64,
         "error: --rows: expected one value, found 2; see trainer preview --help"},
        {"flag with a value",
         {"check", "recipe.yaml", "--json=pretty"},
         {},
         64,
         "error: --json: expected no value, found pretty; see trainer check --help"},
        {"no processes",
         {"run", "recipe.yaml", "--nproc", "0"},
         {},
         64,
         "error: --nproc: expected an integer of at least 1, found 0; see trainer run --help"},
        {"processes that are no number",
         {"run", "recipe.yaml", "--nproc", "two"},
         {},
         64,
         "error: --nproc: expected an integer of at least 1, found two; see trainer run --help"},
        {"more processes than any machine has",
         {"run", "recipe.yaml", "--nproc", "4294967297"},
         {},
         64,
         "error: --nproc: expected an integer from 1 to 2147483647, found 4294967297; see trainer run --help"},
        {"more processes than are started",
         {"run", "recipe.yaml", "--nproc", "1025"},
         {},
         64,
         "error: --nproc is 1025; expected a number of processes from 1 to 1024"},
        {"list of nothing",
         {"list", "modles"},
         {},
         64,
         "error: list: there is nothing called \"modles\"; did you mean \"models\"? available: models, methods, "
         "optimizers, schedules, formats, objectives, recipe"},
        {"info of a missing model",
         {"info", "./nothing"},
         {},
         66,
         "error: ./nothing: no such model folder or .gguf file"},
    });
}

TEST(Mistakes, Generate) {
    const std::string letters(600, 'x');
    check_mistakes({
        {"generate without a prompt",
         {"generate", "model"},
         {},
         64,
         "error: generate: give one of --prompt, --message, --chat"},
        {"generate with two",
         {"generate", "model", "--prompt", "a", "--message", "b"},
         {},
         64,
         "error: generate: give one of --prompt, --message, --chat"},
        {"generate chat as JSON",
         {"generate", "model", "--chat", "--json"},
         {},
         64,
         "error: generate: --chat and --json exclude each other"},
        {"empty prompt",
         {"generate", "model", "--prompt", ""},
         {},
         64,
         "error: --prompt: expected a text to continue, found an empty text; see trainer generate --help"},
        {"empty message",
         {"generate", "model", "--message", ""},
         {},
         64,
         "error: --message: expected what the user says, found an empty text; see trainer generate --help"},
        {"empty adapter",
         {"generate", "model", "--adapter", "", "--prompt", "a"},
         {},
         64,
         "error: --adapter: expected the folder of an adapter, found an empty text; see trainer generate --help"},
        {"empty system message",
         {"generate", "model", "--system", "", "--message", "a"},
         {},
         64,
         "error: --system: expected a system message, found an empty text; see trainer generate --help"},
        {"system message for a prompt",
         {"generate", "model", "--system", "be brief", "--prompt", "a"},
         {},
         64,
         "error: generate: --system goes with --message or --chat; a --prompt is continued as it is"},
        {"seed below 0",
         {"generate", "model", "--prompt", "a", "--seed", "-1"},
         {},
         64,
         "error: --seed: expected an integer of at least 0, found -1; see trainer generate --help"},
        {"seed that is no number",
         {"generate", "model", "--prompt", "a", "--seed", "abc"},
         {},
         64,
         "error: --seed: expected an integer of at least 0, found abc; see trainer generate --help"},
        {"seed beyond 63 bits",
         {"generate", "model", "--prompt", "a", "--seed", "18446744073709551615"},
         {},
         64,
         "error: --seed: expected an integer from 0 to 9223372036854775807, found 18446744073709551615; see trainer "
         "generate --help"},
        {"chat with a line that is not UTF-8",
         {"generate", "model", "--chat"},
         {},
         64,
         "error: generate: line 2 of the input is not valid UTF-8",
         false,
         false,
         "\na\xFF\nhello\n"},
        {"no tokens",
         {"generate", "model", "--prompt", "a", "--max-tokens", "0"},
         {},
         64,
         "error: --max-tokens: expected an integer of at least 1, found 0; see trainer generate --help"},
        {"temperature below 0",
         {"generate", "model", "--prompt", "a", "--temperature", "-1"},
         {},
         64,
         "error: --temperature: expected a number of at least 0, found -1; see trainer generate --help"},
        {"top-p of 2",
         {"generate", "model", "--prompt", "a", "--top-p", "2"},
         {},
         64,
         "error: --top-p: expected a number above 0 and at most 1, found 2; see trainer generate --help"},
        {"prompt too long",
         {"generate", "model", "--prompt", letters},
         {},
         64,
         "error: the prompt has 600 tokens, the model takes 512"},
        {"prompt is not UTF-8",
         {"generate", "model", "--prompt", "a\xFF"},
         {},
         64,
         "error: generate: --prompt is not valid UTF-8"},
        {"model missing",
         {"generate", "./nothing", "--prompt", "a"},
         {},
         66,
         "error: ./nothing: no such model folder or .gguf file"},
        {"model not in the cache",
         {"generate", "some/model", "--prompt", "a"},
         {},
         69,
         "error: model some/model is neither a file or folder here nor in the hub cache hub/hub; give the path of a "
         "model folder or a .gguf file, or fill the cache on a machine with network (huggingface-cli download "
         "some/model)"},
        {"message without a template",
         {"generate", "model", "--message", "a"},
         with_key("model/tokenizer_config.json", "chat_template", Node()),
         65,
         "error: model: the model has no chat template; use --prompt"},
        {"adapter missing", ask_adapter, {}, 66, "error: adapter: no such adapter folder"},
        {"adapter pickled", ask_adapter,
         [](const fs::path& folder) {
             with_adapter("model.layers.0.self_attn.q_proj", 32)(folder);
             fs::rename(folder / "adapter/adapter_model.safetensors", folder / "adapter/adapter_model.bin");
         },
         77,
         "error: adapter: only pickled weights (adapter_model.bin), which can run code when loaded; save the adapter "
         "as safetensors first"},
        {"adapter of a deeper base", ask_adapter, with_adapter("model.layers.7.self_attn.q_proj", 32), 65,
         "error: adapter: adapts model.layers.7.self_attn.q_proj, which the model does not have; it belongs to another "
         "base (another/model)"},
        {"adapter of a wider base", ask_adapter, with_adapter("model.layers.0.self_attn.q_proj", 48), 65,
         "error: adapter: model.layers.0.self_attn.q_proj is 48 → 32 in the adapter, 32 → 32 in the model; it belongs "
         "to another base (another/model)"},
        {"adapter with patterns", ask_adapter, with_adapter("model.layers.0.self_attn.q_proj", 32, true), 65,
         "error: adapter: tensor base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight has shape [2, 32], its "
         "configuration and the model ask for [3, 32]"},
        {"adapter without its config", ask_adapter,
         [](const fs::path& folder) {
             with_adapter("model.layers.0.self_attn.q_proj", 32)(folder);
             fs::remove(folder / "adapter/adapter_config.json");
         },
         66, "error: adapter/adapter_config.json: no such file; is it an adapter folder?"},
        {"adapter cut", ask_adapter,
         [](const fs::path& folder) {
             with_adapter("model.layers.0.self_attn.q_proj", 32)(folder);
             const fs::path file = folder / "adapter/adapter_model.safetensors";
             fs::resize_file(file, fs::file_size(file) - 4);
         },
         65,
         "error: adapter/adapter_model.safetensors: the file is truncated: its tensors need 512 bytes of data, it has "
         "508"},
    });
}

}   // namespace
}   // namespace trainer::test
