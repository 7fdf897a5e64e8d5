#include "models/rope_frequencies.h"

#include <cmath>
#include <numbers>

#include "configs/error.h"
#include "models/config_values.h"

namespace trainer {

namespace {

const Node* first_present(const Node& config, std::initializer_list<const char*> keys) {
    for (const char* key : keys)
        if (const Node* value = config.find_value(key)) return value;
    return nullptr;
}

// Llama 3.1: long wavelengths are divided by the factor, short ones kept, those between blended.
void scale_llama3(std::vector<float>& frequencies, const Node& scaling, const Node& config) {
    const auto factor = static_cast<float>(scaling.at("factor").as_number());
    const auto low = static_cast<float>(scaling.at("low_freq_factor").as_number());
    const auto high = static_cast<float>(scaling.at("high_freq_factor").as_number());
    const Node* original_length = config.find_value("original_max_position_embeddings");
    if (!original_length) original_length = scaling.find_value("original_max_position_embeddings");
    if (!original_length) original_length = &config.at("max_position_embeddings");
    const auto original = static_cast<float>(original_length->as_number());
    require(high > low && factor > 0, Exit::bad_data,
            "{}: rope scaling llama3 needs high_freq_factor > low_freq_factor and factor > 0",
            place_of(scaling, "factor"));
    for (float& frequency : frequencies) {
        const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
        if (wavelength > original / low) {
            frequency /= factor;
        } else if (wavelength >= original / high) {
            const float smooth = (original / wavelength - low) / (high - low);
            frequency = (1 - smooth) * frequency / factor + smooth * frequency;
        }
    }
}

}   // namespace

std::vector<float> rope_frequencies(const Node& config, int head_dim) {
    const Node* scaling = first_present(config, {"rope_scaling", "rope_parameters"});
    const Node* theta = config.find_value("rope_theta");   // the top level first: that is where overrides go
    for (const char* section : {"rope_scaling", "rope_parameters"})
        if (const Node* values = config.find(section); values && !theta) theta = values->find_value("rope_theta");
    const auto base = theta ? static_cast<float>(theta->as_number()) : 10000.0f;
    require(base > 0, Exit::bad_data, "{}: rope_theta is {}, expected a positive number",
            place_of(config, "rope_theta"), base);

    std::vector<float> frequencies;
    for (int j = 0; j < head_dim / 2; ++j)
        frequencies.push_back(1.0f / std::pow(base, static_cast<float>(2 * j) / static_cast<float>(head_dim)));
    if (!scaling) return frequencies;

    const Node* type = first_present(*scaling, {"rope_type", "type"});
    const std::string name = type ? type->as_string() : "default";
    if (name == "linear") {
        const auto factor = static_cast<float>(scaling->at("factor").as_number());
        require(factor > 0, Exit::bad_data, "{}: rope scaling factor is {}, expected a positive number",
                place_of(*scaling, "factor"), factor);
        for (float& frequency : frequencies) frequency /= factor;
    } else if (name == "llama3") {
        scale_llama3(frequencies, *scaling, config);
    } else {
        require(name == "default", Exit::bad_data,
                "{}: rope scaling \"{}\" is not supported; supported are default, linear, llama3",
                place_of(*scaling, "rope_type"), name);
    }
    return frequencies;
}

}   // namespace trainer
