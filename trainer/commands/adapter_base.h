#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hub/adapter.h"
#include "trainer/inputs.h"

namespace CLI {
class App;
}

namespace trainer {

// The options --base MODEL, --revision and --other-base of commands that are given an adapter.
struct AdapterBase {
    std::string model;   // "": the one that the adapter's configuration names
    std::string revision;
    bool other = false;      // --other-base: although the adapter was made for another
    bool original = false;   // the model is the one that the adapter's base was quantised from

    void declare(CLI::App& app);
};

struct OpenedBase {
    BaseModel model;                               // with the adapter's chat template and end of text
    std::optional<std::int64_t> own_end_of_text;   // the adapter's, when it is another than the base's
};

// `folder` is the adapter's. Error(usage) when nobody names a base; those of open_base_model, which say where a base
// that is missing was named.
// Error(bad_data) when it was made for another base, and warnings of what speaks for that (check_base_of).
OpenedBase open_adapter_base(const AdapterBase& base, const std::string& folder, const AdapterConfig& config);

}   // namespace trainer
