#include "models/registry.h"

#include "configs/error.h"
#include "models/llama.h"

namespace trainer {

const std::vector<ModelFamily>& model_families() {
    static const std::vector<ModelFamily> families = {
        {"llama", "Llama 2, Llama 3, SmolLM2 and others of the same build", make_llama},
    };
    return families;
}

std::unique_ptr<CausalLm> make_causal_lm(const Node& config) {
    const std::string type = config.at("model_type").as_string();
    std::vector<std::string> names;
    for (const ModelFamily& family : model_families()) {
        if (type == family.model_type) return family.make(config);
        names.push_back(family.model_type);
    }
    fail(Exit::bad_data, "config.json: model_type \"{}\" is not supported; supported: {}", type, join(names));
}

}   // namespace trainer
