#pragma once

#include <cstdint>
#include <vector>

#include "configs/node.h"

namespace trainer {

// What the "post_processor" of tokenizer.json puts around one sequence.
struct PostProcessor {
    std::vector<std::int32_t> before;
    std::vector<std::int32_t> after;
};

// null, ByteLevel (it only trims offsets, which ours never are), TemplateProcessing, Sequence; Error(bad_data) names
// any other.
PostProcessor make_post_processor(const Node& value);

}   // namespace trainer
