#include "trainer/identity.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "autograd/cpu/gemm.h"
#include "autograd/cpu/isa.h"
#include "autograd/cuda/cudnn.h"
#include "autograd/cuda/gemm.h"
#include "autograd/cuda/runtime.h"
#include "configs/json.h"
#include "hub/sha256.h"
#include "trainer/run_options.h"

namespace trainer {

namespace {

// Keys, or sections, that leave weights and losses as they are. Sums do not depend on how they are shared out.
constexpr std::string_view harmless[] = {"device",
                                         "model.base",
                                         "model.revision",
                                         "model.hub_id",
                                         "data.train.path",
                                         "data.train.*.path",
                                         "data.valid.path",
                                         "data.valid.*.path",
                                         "data.template",
                                         "peft.continue_from",
                                         "peft.beside",
                                         "peft.other_base",
                                         "optimizer.in_backward",
                                         "training.recompute",
                                         "training.offload",
                                         "training.sharding",
                                         "training.nonfinite_steps",
                                         "checkpoint",
                                         "logging",
                                         "output"};

// Whether a dotted path is the pattern, or lies below it; * stands for one part.
bool matches(std::string_view pattern, std::string_view path) {
    while (!pattern.empty()) {
        const std::string_view part = pattern.substr(0, pattern.find('.'));
        const std::string_view found = path.substr(0, path.find('.'));
        if (part != "*" && part != found) return false;
        pattern.remove_prefix(std::min(pattern.size(), part.size() + 1));
        path.remove_prefix(std::min(path.size(), found.size() + 1));
    }
    return true;
}

using Values = std::map<std::string, std::string>;

void collect(const Node& node, const std::string& path, Values& values) {
    const std::string dot = path.empty() ? "" : ".";
    if (node.is_map()) {
        for (const Node::Entry& entry : node.as_map()) collect(entry.value, path + dot + entry.key, values);
    } else if (node.is_list() && path == "data.train") {
        for (std::size_t i = 0; i < node.as_list().size(); ++i)
            collect(node.as_list()[i], path + dot + std::to_string(i), values);
    } else if (std::none_of(std::begin(harmless), std::end(harmless),
                            [&](std::string_view pattern) { return matches(pattern, path); })) {
        values[path] = to_json(node);
    }
}

Values values_of(const Node& recipe) {
    Values values;
    collect(recipe, "", values);
    Complaints unread;
    Node without_files = recipe;   // adapters that it began with may lie elsewhere now
    if (Node* peft = without_files.find("peft"); peft && peft->is_map()) {
        peft->erase("continue_from");
        peft->erase("beside");
    }
    const Recipe read = read_recipe(without_files, unread);
    values["training.determinism"] = enum_name(determinism(read));   // what auto stands for
    // Early stopping decides the last step, a plateau the learning rate.
    if (!read.eval.patience && read.schedule.name != ScheduleKind::reduce_on_plateau) values.erase("eval.every");
    if (read.training.precision != Precision::f16) values.erase("training.loss_scale");
    return values;
}

template <typename Element>
void add(const std::vector<Element>& values, Sha256& hash) {
    hash.update(std::as_bytes(std::span(values)));
}

void add(const std::vector<Example>& examples, Sha256& hash) {
    for (const Example& example : examples) {
        add(std::vector<std::int64_t>{example.source, example.row, example.occurrence,
                                      static_cast<std::int64_t>(example.ids.size())},
            hash);
        add(example.ids, hash);
        add(example.trained, hash);
    }
}

}   // namespace

std::string numerics_fingerprint(Place place) {
    if (!place.is_cuda()) return format("{}, {}", isa_name(), gemm_library());
    const cuda::Device& device = *cuda::opened_device();
    return format("{}, compute capability {}.{}, {}, {}", device.name, device.major, device.minor,
                  cuda::gemm_numerics(), cuda::cudnn_library());
}

std::string recipe_digest(const Recipe& recipe) {
    Sha256 keys;
    for (const auto& [key, value] : values_of(resolved(recipe))) keys.update(key + "=" + value + "\n");
    return keys.finish();
}

std::string data_digest(const Inputs& inputs) {
    Sha256 data;
    add(inputs.train.examples, data);
    for (const ValidationSet& set : inputs.valid) add(set.data.examples, data);
    return data.finish();
}

std::string base_digest(const BaseModel& base, const std::optional<PeftOptions>& peft) {
    Sha256 all;
    for (const std::string& digest : sha256_of_files(base.snapshot.files)) all.update(digest);
    std::vector<std::filesystem::path> adapters;
    if (peft && peft->adapter.continue_from) adapters.push_back(*peft->adapter.continue_from);
    if (peft)
        for (const auto& [name, folder] : peft->adapter.beside.folders) adapters.push_back(folder);
    for (const std::filesystem::path& folder : adapters)
        for (const char* name : {"adapter_config.json", "adapter_model.safetensors"})
            all.update(sha256_of_file(folder / name));
    return all.finish();
}

std::string program_digest() { return sha256_of_file("/proc/self/exe"); }

std::map<std::string, std::string> identity_of(const Inputs& inputs) {
    return {{"program", program_digest()},
            {"recipe", recipe_digest(inputs.recipe)},
            {"data", data_digest(inputs)},
            {"base", base_digest(inputs.base, inputs.recipe.peft)},
            {"numerics", numerics_fingerprint(inputs.place)}};
}

std::vector<RecipeChange> changes_of_result(const Node& before, const Node& now) {
    const Values old_values = values_of(before);
    Values new_values = values_of(now);
    std::vector<RecipeChange> changes;
    for (const auto& [key, value] : old_values) {
        const auto found = new_values.find(key);
        const std::string other = found == new_values.end() ? "nothing" : found->second;
        if (other != value) changes.push_back({key, value, other});
        if (found != new_values.end()) new_values.erase(found);
    }
    for (const auto& [key, value] : new_values) changes.push_back({key, "nothing", value});
    return changes;
}

}   // namespace trainer
