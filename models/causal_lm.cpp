#include "models/causal_lm.h"

namespace trainer {

std::vector<std::vector<Parameter*>> CausalLm::trainable_by_block() {
    const auto blocks = static_cast<std::size_t>(shape().layers);
    std::vector<std::vector<Parameter*>> units(blocks + 1);
    for (Parameter* parameter : parameters().trainable()) {
        std::size_t unit = 0;
        while (unit < blocks && !parameter->name.starts_with(block_scope(unit) + ".")) ++unit;
        units[unit].push_back(parameter);
    }
    return units;
}

}   // namespace trainer
