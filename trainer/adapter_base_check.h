#pragma once

#include <filesystem>
#include <string_view>

#include "trainer/inputs.h"

namespace trainer {

// What may be asked of a base that an adapter was not trained on.
struct BasePermission {
    bool other_weights = false;
    std::string_view name;       // what messages call that
    bool other_format = false;   // known to be of another format: without a warning
};

// Whether a saved adapter was made for these weights, as far as its file says (hub/weights_digest.h), which is added to
// the base's warnings. Error(bad_data) when they were others of the same layout, plain numbers, unless that is
// permitted. Errors of AdapterFile.
void check_base_of(const std::filesystem::path& adapter, BaseModel& base, const BasePermission& permission);

}   // namespace trainer
