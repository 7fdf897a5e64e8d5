#include "models/registry.h"

#include "models/config_values.h"
#include "models/llama.h"

namespace trainer {

const Registry<Architecture>& causal_lms() {
    static const Registry<Architecture> table(
        "model_type",
        {
            {"llama", "Llama 2 and 3, SmolLM2 and others of the same build", {make_llama, llama_config_keys}},
        });
    return table;
}

std::unique_ptr<CausalLm> make_causal_lm(const Node& config) {
    return causal_lms()
        .at(config.at("model_type").as_string(), Exit::bad_data, place_of(config, "model_type") + ": ")
        .make(config);
}

}   // namespace trainer
