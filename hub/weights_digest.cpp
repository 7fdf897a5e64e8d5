#include "hub/weights_digest.h"

#include "hub/sha256.h"

namespace trainer {

namespace {

constexpr std::size_t stretch = 4096, stretches = 8;

void add_values(std::span<const std::byte> bytes, Sha256& hash) {
    if (bytes.size() <= stretch * stretches) {
        hash.update(bytes);
        return;
    }
    const std::size_t last = bytes.size() - stretch;
    for (std::size_t i = 0; i < stretches; ++i)   // evenly from the first to the last
        hash.update(bytes.subspan(last / (stretches - 1) * i, stretch));
}

}   // namespace

WeightsDigest digest_of_weights(const WeightSource& weights) {
    Sha256 layout, values;
    for (const std::string& name : weights.names()) {
        layout.update(name + " " + weights.stored_type(name) + " " + shape_text(weights.shape(name)) + "\n");
        add_values(weights.bytes(name), values);
    }
    return {layout.finish(), values.finish()};
}

}   // namespace trainer
