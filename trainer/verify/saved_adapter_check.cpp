#include "trainer/verify/saved_adapter_check.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>

#include "configs/error.h"
#include "hub/adapter.h"
#include "hub/safetensors.h"
#include "models/registry.h"
#include "trainer/verify/scratch_folder.h"

namespace trainer {

namespace {

// What rounding may do to logits in f32, as a share of their range: four units of the last place a layer. A PiSSA that
// has not learned yet, whose change is all rounding, does 3e-6 to the 30 layers of SmolLM2-135M and 3e-7 to two layers.
double rounding_share(const BaseModel& base) {
    const auto layers = static_cast<double>(make_causal_lm(base.snapshot.config)->shape().layers);
    return 4 * 0x1p-23 * (layers + 1);
}

// What each adapted module multiplies into the change and begins with nothing.
bool is_deciding(const std::string& name) {
    for (const char* end : {".lora_B.weight", ".lora_embedding_A", ".hada_w2_b", ".lokr_w1", ".lokr_w1_a",
                            ".vera_lambda_b", ".oft_R.weight", ".ia3_l"})
        if (name.ends_with(end)) return true;
    return false;
}

// Names of those tensors that leave their module as it is.
std::vector<std::string> without_effect(const AdapterFile& file, std::size_t& looked_at) {
    std::vector<std::string> names;
    for (const FileTensor& tensor : file.tensors()) {
        if (!is_deciding(tensor.name)) continue;
        ++looked_at;
        std::vector<float> values(static_cast<std::size_t>(element_count(tensor.shape)));
        file.read(tensor.name, values.data());
        const float nothing = tensor.name.ends_with(".ia3_l") ? 1.0f : 0.0f;
        if (std::all_of(values.begin(), values.end(), [&](float value) { return value == nothing; }))
            names.push_back(tensor.name);
    }
    return names;
}

bool same_bits(const std::filesystem::path& path, const std::vector<Tensor>& logits) {
    const SafetensorsFile file(path);
    for (std::size_t i = 0; i < logits.size(); ++i) {
        const auto here =
            std::as_bytes(std::span(logits[i].data<float>(), static_cast<std::size_t>(logits[i].elements())));
        const auto there = file.bytes(file.at(std::to_string(i)));
        if (!std::equal(here.begin(), here.end(), there.begin(), there.end())) return false;
    }
    return true;
}

std::string shown(double value) {
    std::array<char, 32> text;
    std::snprintf(text.data(), text.size(), "%.3g", value);
    return text.data();
}

}   // namespace

void write_logits(const std::filesystem::path& file, const std::vector<Tensor>& logits) {
    std::vector<TensorToWrite> tensors;
    for (std::size_t i = 0; i < logits.size(); ++i)
        tensors.push_back(
            {std::to_string(i),
             FileDType::f32,
             logits[i].shape().sizes(),
             std::as_bytes(std::span(logits[i].data<float>(), static_cast<std::size_t>(logits[i].elements()))),
             {}});
    write_safetensors(file, tensors);
}

Verdict check_saved_adapter(const BaseModel& base, const std::string& adapter, const TokenSequences& prompts,
                            const std::function<void(const std::filesystem::path& file)>& reload) {
    std::size_t modules = 0;
    const std::vector<std::string> idle = without_effect(AdapterFile(adapter), modules);
    const std::vector<Tensor> logits = prompt_logits(base, adapter, prompts);
    const LogitGap change = compare_logits(prompt_logits(base, "", prompts), logits);
    const ScratchFolder scratch(adapter);
    const std::filesystem::path file = scratch.path() / "logits.safetensors";
    reload(file);
    const bool same = same_bits(file, logits);
    const bool has_effect = change.share > rounding_share(base);

    Verdict verdict;
    verdict.tables = table_text(
        {{"keys and shapes", "those of the base", "yes"},
         {"B is not zero", format("{} of {} modules", modules - idle.size(), modules), idle.empty() ? "yes" : "NO"},
         {"changes the base", format("largest change of a logit {}", shown(change.largest)), has_effect ? "yes" : "NO"},
         {"read again", format("{} logits in a fresh process, to the bit", change.positions * logits.front().columns()),
          same ? "yes" : "NO"}});
    Node names = Node::list();
    for (const std::string& name : idle) names.push_back(name);
    verdict.json = Node::map();
    verdict.json.set("modules", static_cast<std::int64_t>(modules));
    verdict.json.set("without_effect", std::move(names));
    verdict.json.set("largest_change", change.largest);
    verdict.json.set("share_of_range", change.share);
    verdict.json.set("same_logits", same);
    if (!has_effect) {
        const std::string what =
            change.largest == 0
                ? "every logit of the prompts is the base's"
                : format("no logit of the prompts changes by more than {} of their range, which is rounding",
                         shown(change.share));
        verdict.failure = format("{}: changes nothing: {}; it was not trained, or not saved whole", adapter, what);
        verdict.code = Exit::bad_data;
    } else if (!idle.empty()) {
        verdict.failure = format("{}: {} of {} modules have no effect: {} is {}", adapter, idle.size(), modules,
                                 idle.front(), idle.front().ends_with(".ia3_l") ? "one everywhere" : "zero");
        verdict.code = Exit::bad_data;
    }
    if (!same) {
        verdict.failure = format(
            "{}: a fresh process computes other logits from the same files; this is a bug of ours, please report it",
            adapter);
        verdict.code = Exit::internal;
    }
    return verdict;
}

}   // namespace trainer
