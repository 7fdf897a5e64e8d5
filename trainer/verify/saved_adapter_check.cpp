#include "trainer/verify/saved_adapter_check.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>

#include "configs/error.h"
#include "hub/adapter.h"
#include "hub/safetensors.h"
#include "trainer/verify/scratch_folder.h"

namespace trainer {

namespace {

// What each adapted module multiplies into the change and begins with nothing.
bool is_deciding(const std::string& name) {
    for (const char* end : {".lora_B.weight", ".lora_embedding_A", ".hada_w2_b", ".lokr_w1", ".lokr_w1_a",
                            ".vera_lambda_b", ".oft_R.weight", ".ia3_l"})
        if (name.ends_with(end)) return true;
    return false;
}

std::vector<float> values_of(const AdapterFile& file, const FileTensor& tensor) {
    std::vector<float> values(static_cast<std::size_t>(element_count(tensor.shape)));
    file.read(tensor.name, values.data());
    return values;
}

// A LoRA that began with a part of the weights (PiSSA, OLoRA) is saved with what it began with, which it takes away
// again: B A − B₀ A₀ as [B, −B₀] [A; A₀]. Whether both are the same still, to the bit.
bool is_as_it_began(const AdapterFile& file, const AdapterModule& module) {
    const std::string name = std::string(adapter_prefix) + module.name;
    const FileTensor* const a = file.find(name + ".lora_A.weight");
    const FileTensor* const b = file.find(name + ".lora_B.weight");
    if (!a || !b || module.rank % 2 != 0) return false;
    const std::vector<float> rows = values_of(file, *a), columns = values_of(file, *b);
    const auto middle = rows.begin() + static_cast<std::ptrdiff_t>(rows.size() / 2);
    if (!std::equal(rows.begin(), middle, middle)) return false;
    const auto rank = static_cast<std::size_t>(module.rank), half = rank / 2;
    for (std::size_t row = 0; row < columns.size(); row += rank)
        for (std::size_t i = 0; i < half; ++i)
            if (columns[row + i] != -columns[row + half + i]) return false;
    return std::any_of(columns.begin(), columns.end(), [](float value) { return value != 0; });
}

// A tensor that leaves its module as it is, and why.
struct Idle {
    std::string name;
    const char* why;
};

std::vector<Idle> without_effect(const AdapterFile& file, std::size_t& looked_at) {
    std::vector<Idle> found;
    for (const FileTensor& tensor : file.tensors()) {
        if (!is_deciding(tensor.name)) continue;
        ++looked_at;
        const std::vector<float> values = values_of(file, tensor);
        const float nothing = tensor.name.ends_with(".ia3_l") ? 1.0f : 0.0f;
        if (std::all_of(values.begin(), values.end(), [&](float value) { return value == nothing; }))
            found.push_back({tensor.name, nothing == 0 ? "is zero" : "is one everywhere"});
    }
    for (const AdapterModule& module : file.modules())
        if (is_as_it_began(file, module))
            found.push_back({module.name, "takes away again what it adds, which is as it began"});
    return found;
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
    const std::vector<Idle> idle = without_effect(AdapterFile(adapter), modules);
    const std::vector<Tensor> logits = prompt_logits(base, adapter, prompts);
    const LogitGap change = compare_logits(prompt_logits(base, "", prompts), logits);
    const ScratchFolder scratch(adapter);
    const std::filesystem::path file = scratch.path() / "logits.safetensors";
    reload(file);
    const bool same = same_bits(file, logits);

    Verdict verdict;
    verdict.tables = table_text(
        {{"keys and shapes", "those of the base", "yes"},
         {"modules with effect", format("{} of {} modules", modules - idle.size(), modules),
          idle.empty() ? "yes" : "NO"},
         {"changes the base", format("largest change of a logit {}", shown(change.largest)),
          change.largest > 0 ? "yes" : "NO"},
         {"read again", format("{} logits in a fresh process, to the bit", change.positions * logits.front().columns()),
          same ? "yes" : "NO"}});
    Node names = Node::list();
    for (const Idle& one : idle) names.push_back(one.name);
    verdict.json = Node::map();
    verdict.json.set("modules", static_cast<std::int64_t>(modules));
    verdict.json.set("without_effect", std::move(names));
    verdict.json.set("largest_change", change.largest);
    verdict.json.set("same_logits", same);
    if (change.largest == 0) {
        verdict.failure = format(
            "{}: changes nothing: every logit of the prompts is the base's; it was not trained, or not saved whole",
            adapter);
        verdict.code = Exit::bad_data;
    } else if (!idle.empty()) {
        verdict.failure = format("{}: {} of {} modules have no effect: {} {}", adapter, idle.size(), modules,
                                 idle.front().name, idle.front().why);
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
