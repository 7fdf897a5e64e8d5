#pragma once

#include "data/formats/format.h"

namespace trainer {

// {"prompt": "…", "completion": "…"}, or both as lists of messages (then with the extras of `messages`).
FormattedRow read_prompt_completion(const Node& row);

// {"text": "…"}
FormattedRow read_text(const Node& row);

}   // namespace trainer
