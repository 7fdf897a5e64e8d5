#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "hub/snapshot.h"

namespace trainer {

// Whether a saved adapter was made for these weights, as far as its file says (hub/weights_digest.h).
// Error(bad_data) when they were others of the same layout, unless `allowed`; `permission` is what the message calls
// that. Of another layout it may be the same model in another format: a warning. Errors of AdapterFile.
void check_base_of(const std::filesystem::path& adapter, const Snapshot& base, bool allowed,
                   std::string_view permission, std::vector<std::string>& warnings);

}   // namespace trainer
