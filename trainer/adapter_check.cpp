#include "trainer/adapter_check.h"

#include <algorithm>

#include "configs/json.h"
#include "peft/adapter_config.h"
#include "peft/registry.h"

namespace trainer {

namespace {

std::string text_of(const Node& value) { return to_json(value); }

// Writing them with another value than the standard would be without effect.
void check_unused(const PeftOptions& peft, const Node& section, Complaints& complaints) {
    const PeftMethodEntry* method = peft_methods().find(peft.method);
    if (!method) return;   // complained about already
    const Node given = write_fields(peft.adapter), standard = write_fields(AdapterOptions());
    for (const Node::Entry& entry : section.as_map()) {
        const Node* value = given.find(entry.key);
        if (!value || method->reads(entry.key) || text_of(*value) == text_of(standard.at(entry.key))) continue;
        Where{complaints, "peft." + entry.key}.complain(entry.value,
                                                        format("{} does not read this key; leave it out", peft.method));
    }
}

// It allows what only saved adapters can be.
void check_other_base(const AdapterOptions& options, const Node& section, Complaints& complaints) {
    const Node* other = section.find_value("other_base");
    if (other && options.other_base && !options.continue_from && options.beside.folders.empty())
        Where{complaints, "peft.other_base"}.complain(
            *other, "has no effect without continue_from or beside, which name saved adapters; leave it out");
}

// Target parameters may be all there is.
void check_targets(AdapterOptions& options, const Node& section, Complaints& complaints) {
    const Node* targets = section.find_value("targets");
    if (!options.target_parameters.empty()) {
        if (!targets) options.targets = {{}, ""};
    } else if (targets && options.targets.is_nothing() && !options.continue_from) {
        Where{complaints, "peft.targets"}.complain(
            *targets, "expected at least one layer, or target_parameters, found an empty list");
    }
}

// LoRA, and what is LoRA with an option: those that read an option that none of them decides.
bool is_lora(const std::string& method) {
    const PeftMethodEntry* entry = peft_methods().find(method);
    return entry && entry->reads("loraplus_lr_ratio");
}

// A method that is LoRA with an option, as LoRA with that option.
PeftOptions as_lora(PeftOptions peft) {
    if (peft.method == "rslora") peft.adapter.rslora = true;
    if (peft.method == "dora") peft.adapter.dora = true;
    if (peft.method == "pissa") peft.adapter.init = LowRankInit::pissa;
    if (peft.method == "olora") peft.adapter.init = LowRankInit::olora;
    if (is_lora(peft.method)) peft.method = "lora";
    return peft;
}

void adopt_saved(PeftOptions& peft, const Node& section, Complaints& complaints) {
    const std::string folder = *peft.adapter.continue_from;
    const AdapterConfig config = AdapterFile(folder).config();
    PeftOptions saved{adapter_method(config), adapter_options(config)};
    saved.adapter.continue_from = folder;
    saved.adapter.loraplus_lr_ratio = peft.adapter.loraplus_lr_ratio;
    saved.adapter.name = peft.adapter.name;
    saved.adapter.other_base = peft.adapter.other_base;
    saved.adapter.beside = peft.adapter.beside;
    const PeftOptions asked = as_lora(peft);
    const Node given = write_fields(peft), found = write_fields(asked), expected = write_fields(saved);
    const Node implied = write_fields(as_lora({peft.method, {}})), standard = write_fields(PeftOptions());
    for (const Node::Entry& entry : section.as_map()) {
        const Node* value = expected.find(entry.key);
        if (!value) continue;   // an unknown key, complained about already
        const Where where{complaints, "peft." + entry.key};
        if (text_of(*value) != text_of(found.at(entry.key)))
            where.complain(entry.value, format("the adapter in {} has {}, found {}; leave the key out", folder,
                                               text_of(*value), text_of(given.at(entry.key))));
        else if (entry.key == "method")
            for (const Node::Entry& option : implied.as_map())
                if (text_of(option.value) != text_of(standard.at(option.key)) &&
                    text_of(option.value) != text_of(expected.at(option.key)))
                    where.complain(entry.value,
                                   format("the adapter in {} is a {} with {} {}, not {}; leave the key out", folder,
                                          saved.method, option.key, text_of(expected.at(option.key)), peft.method));
    }
    peft = saved;
}

// Names of folders as PEFT's modules may be called.
void check_name(const std::string& name, const Node& node, const Where& where) {
    const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
    if (!plain || name.starts_with("checkpoint-"))
        where.complain(node, format("\"{}\" is no name of an adapter: expected letters, digits, - and _, and not what "
                                    "checkpoints are called",
                                    name));
}

void check_names(const PeftOptions& peft, const Node& section, Complaints& complaints) {
    if (const Node* name = section.find("name")) check_name(peft.adapter.name, *name, {complaints, "peft.name"});
    const Node* beside = section.find("beside");
    if (!beside || !beside->is_map()) return;
    for (const Node::Entry& entry : beside->as_map()) {
        const Where where{complaints, "peft.beside." + entry.key};
        check_name(entry.key, entry.value, where);
        if (entry.key == peft.adapter.name)
            where.complain(entry.value,
                           "the adapter that is trained has this name too; call one of them otherwise "
                           "(peft.name)");
    }
}

}   // namespace

void check_adapter(Recipe& recipe, const Node& document, Complaints& complaints) {
    const Node* section = document.find("peft");
    if (!recipe.peft || !section || !section->is_map()) return;
    AdapterOptions& options = recipe.peft->adapter;
    if (options.exclude && options.exclude->is_nothing()) options.exclude.reset();
    check_unused(*recipe.peft, *section, complaints);
    check_names(*recipe.peft, *section, complaints);
    check_targets(recipe.peft->adapter, *section, complaints);
    check_other_base(options, *section, complaints);
    const Node* training = document.find("training");
    const Node* unfrozen = training ? training->find("unfrozen_parameters") : nullptr;
    if (unfrozen && !recipe.training.unfrozen_parameters.empty())
        Where{complaints, "training.unfrozen_parameters"}.complain(
            *unfrozen,
            "with peft the base is frozen; name modules to train beside the adapter in peft.modules_to_save");
    // An adapter that cannot be read ends everything, so mistakes of the recipe itself come first.
    if (recipe.peft->adapter.continue_from && complaints.size() == 0) adopt_saved(*recipe.peft, *section, complaints);
    if (complaints.size() == 0)
        for (const auto& [name, folder] : recipe.peft->adapter.beside.folders) AdapterFile{folder};
}

}   // namespace trainer
