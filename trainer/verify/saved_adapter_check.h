#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "trainer/inputs.h"
#include "trainer/verify/comparison.h"
#include "trainer/verify/prompt_logits.h"

namespace trainer {

// A safetensors file of prompt_logits, one tensor a prompt: "0", "1", …
void write_logits(const std::filesystem::path& file, const std::vector<Tensor>& logits);

// Whether a saved adapter changes its base, and whether `reload`, which writes such a file of the same prompts from
// another process, finds the same bits. The failure is bad_data for an adapter or a module of it without effect
// and internal for other bits. Errors of SavedAdapter when it does not fit.
Verdict check_saved_adapter(const BaseModel& base, const std::string& adapter, const TokenSequences& prompts,
                            const std::function<void(const std::filesystem::path& file)>& reload);

}   // namespace trainer
