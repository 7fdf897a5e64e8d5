#include "trainer/adapter_base_check.h"

#include "configs/error.h"
#include "hub/adapter.h"

namespace trainer {

void check_base_of(const std::filesystem::path& adapter, BaseModel& base, const BasePermission& permission) {
    const AdapterFile file(adapter);
    const SameWeights same = compare(file.base(), base.weights);
    if (same == SameWeights::yes || same == SameWeights::unknown) return;
    const std::string called =
        file.config().base_model.empty() ? "" : format(" (it names {})", file.config().base_model);
    const auto warn = [&](const std::string& what) {
        base.warnings.push_back(
            format("{}: was trained on {}{} than those of {}; whether both are one model cannot be "
                   "told",
                   adapter.string(), what, called, base.snapshot.base));
    };
    if (same == SameWeights::other_layout) {
        if (!permission.other_format) warn("weights of another format");
        return;
    }
    if (holds_compressed(*base.snapshot.weights)) {
        warn("other compressed weights");
        return;
    }
    const std::string what =
        format("{}: was trained on other weights{} than those of {}, though their names, types and shapes are the same",
               adapter.string(), called, base.snapshot.base);
    require(permission.other_weights, Exit::bad_data,
            "{}; name the base that it belongs to, or use it all the same with {}", what, permission.name);
    base.warnings.push_back(what);
}

}   // namespace trainer
