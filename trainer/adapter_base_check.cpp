#include "trainer/adapter_base_check.h"

#include "configs/error.h"
#include "hub/adapter.h"

namespace trainer {

void check_base_of(const std::filesystem::path& adapter, const Snapshot& base, bool allowed,
                   std::string_view permission, std::vector<std::string>& warnings) {
    const AdapterFile file(adapter);
    const std::optional<WeightsDigest> made_for = file.base();
    if (!made_for) return;
    const WeightsDigest found = digest_of_weights(*base.weights);
    if (found == *made_for) return;
    const std::string called =
        file.config().base_model.empty() ? "" : format(" (it names {})", file.config().base_model);
    if (found.layout != made_for->layout) {
        warnings.push_back(
            format("{}: was trained on weights of another format{} than those of {}; whether both are "
                   "one model cannot be told",
                   adapter.string(), called, base.base));
        return;
    }
    const std::string what = format(
        "{}: was trained on other weights{} than those of {}, though their names, types "
        "and shapes are the same",
        adapter.string(), called, base.base);
    require(allowed, Exit::bad_data, "{}; name the base that it belongs to, or use it all the same with {}", what,
            permission);
    warnings.push_back(what);
}

}   // namespace trainer
