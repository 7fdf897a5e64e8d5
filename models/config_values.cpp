#include "models/config_values.h"

#include "configs/error.h"

namespace trainer {

std::string place_of(const Node& config, std::string_view key) {
    const Node* value = config.find(key);
    std::string place = value ? value->mark().text() : "";
    if (place.empty()) place = config.mark().text();
    return place.empty() ? "config.json" : place;
}

std::int64_t positive(const Node& config, const char* key, std::int64_t most) {
    const std::int64_t value = config.at(key).as_integer();
    require(value > 0 && value <= most, Exit::bad_data, "{}: {} is {}, expected an integer from 1 to {}",
            place_of(config, key), key, value, most);
    return value;
}

std::int64_t positive_or(const Node& config, const char* key, std::int64_t otherwise, std::int64_t most) {
    return config.find_value(key) ? positive(config, key, most) : otherwise;
}

bool flag(const Node& config, const char* key, bool otherwise) {
    const Node* value = config.find_value(key);
    return value ? value->as_bool() : otherwise;
}

}   // namespace trainer
