#include "peft/saved_adapter.h"

#include <algorithm>
#include <cmath>

#include "configs/error.h"
#include "models/linear.h"
#include "peft/lora.h"

namespace trainer {

SavedAdapter::SavedAdapter(const std::filesystem::path& folder) : folder_(folder.string()), file_(folder) {
    const AdapterConfig& config = file_.config();
    require(config.rank_pattern.empty() && config.alpha_pattern.empty(), Exit::bad_data,
            "{}: rank_pattern and alpha_pattern are not supported", folder_);
    require(file_.parameters().empty(), Exit::bad_data, "{}: weights saved whole are not supported, found {}", folder_,
            file_.parameters().empty() ? "" : file_.parameters().front());
    LoraOptions options;
    options.rank = config.rank;
    // rsLoRA scales by α/√r instead of α/r
    options.alpha = config.use_rslora ? config.alpha * std::sqrt(static_cast<double>(config.rank)) : config.alpha;
    for (const AdapterModule& module : file_.modules()) options.targets.names.push_back(module.name);
    method_ = make_lora(options);
}

void SavedAdapter::attach(Declarations& model) {
    for (const AdapterModule& module : file_.modules()) {
        const auto found = std::find_if(model.linears.begin(), model.linears.end(),
                                        [&](const Linear* linear) { return linear->name == module.name; });
        require(found != model.linears.end(), Exit::bad_data,
                "{}: adapts {}, which the model does not have; it belongs to another base ({})", folder_, module.name,
                file_.config().base_model);
        require((*found)->in_features == module.in && (*found)->out_features == module.out, Exit::bad_data,
                "{}: {} is {} → {} in the adapter, {} → {} in the model; it belongs to another base ({})", folder_,
                module.name, module.in, module.out, (*found)->in_features, (*found)->out_features,
                file_.config().base_model);
    }
    method_->attach(model);
}

void SavedAdapter::read() {
    for (const AdaptedModule& adapted : method_->modules()) {
        const auto module = std::find_if(file_.modules().begin(), file_.modules().end(),
                                         [&](const AdapterModule& one) { return one.name == adapted.name; });
        file_.read(*module, adapted.a->value.data<float>(), adapted.b->value.data<float>());
        adapted.a->changed();
        adapted.b->changed();
    }
}

}   // namespace trainer
