#pragma once

#include <cstdint>
#include <vector>

namespace trainer {

// One document ready for training: token i is a target when trained[i] is 1 and i > 0 (it is then predicted from the
// tokens before it).
struct Example {
    std::vector<std::int32_t> ids;
    std::vector<std::uint8_t> trained;
    std::int32_t source = 0;       // which of the data sources
    std::int64_t row = 0;          // line number in its file, from 1
    std::int64_t occurrence = 0;   // how many-th copy of the row in an epoch (weights above 1)

    std::int64_t targets() const {
        std::int64_t count = 0;
        for (std::size_t i = 1; i < trained.size(); ++i) count += trained[i];
        return count;
    }
};

}   // namespace trainer
