#include "peft/trained_tokens.h"

#include <algorithm>

#include "configs/error.h"
#include "models/embedding.h"
#include "models/linear.h"
#include "peft/low_rank_adapter.h"
#include "peft/targets.h"

namespace trainer {

namespace {

constexpr const char* key = "peft.trainable_token_indices";

void check_free(const std::string& module, bool adapted, bool replaced, const Parameter& weight) {
    require(!replaced, Exit::bad_recipe, "{}: another adapter brings tokens of {} too; only one can", key, module);
    require(!adapted, Exit::bad_recipe, "{}: {} is adapted as a whole; leave it out of targets, or its tokens out", key,
            module);
    require(!weight.replacement, Exit::bad_recipe,
            "{}: {} is trained whole; leave it out of modules_to_save, or its tokens out", key, module);
}

ReplacedRows declare(ParameterSet& parameters, const std::string& module, const Shape& whole,
                     const std::vector<std::int64_t>& ids) {
    ReplacedRows replaced;
    std::vector<std::int64_t> sorted = ids;
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    require(twice == sorted.end(), Exit::bad_recipe, "{}: token {} is named twice", key,
            twice == sorted.end() ? 0 : *twice);
    for (const std::int64_t id : ids) {
        require(id >= 0 && id < whole.rows(), Exit::bad_recipe,
                "{}: there is no token {}: {} has rows for the tokens 0 to {}", key, id, module, whole.rows() - 1);
        replaced.ids.push_back(static_cast<std::int32_t>(id));
    }
    replaced.rows = &declare_trained(parameters, adapter_parameter_name(module, "token_adapter.trainable_tokens_delta"),
                                     Shape(static_cast<std::int64_t>(ids.size()), whole.columns()));
    return replaced;
}

// On the host of a place.
Tensor ids_beside(Place place, const std::vector<std::int32_t>& ids) {
    Tensor out = Tensor::empty(static_cast<std::int64_t>(ids.size()), DType::i32, place.host());
    on(out.place(), [&](Cpu) { std::copy(ids.begin(), ids.end(), out.data<std::int32_t>()); });
    return out;
}

// What the key names by its path or the end of it.
template <typename Layer>
Layer* find(const std::vector<Layer*>& layers, const std::string& name) {
    const auto found =
        std::find_if(layers.begin(), layers.end(), [&](const Layer* layer) { return is_path_end(layer->name, name); });
    return found == layers.end() ? nullptr : *found;
}

}   // namespace

void TrainedTokens::attach(Declarations& model, Embedding& embedding, const Ids& ids) {
    const std::string weight = embedding.name + ".weight";
    check_free(embedding.name, !embedding.adapters.empty(), embedding.replaced_rows.has_value(),
               *model.parameters.find(weight));
    embedding.replaced_rows = declare(model.parameters, embedding.name, embedding.shape(), ids);
    rows_.push_back(embedding.replaced_rows->rows);
    originals_.push_back([&embedding] {
        const ReplacedRows& own = *embedding.replaced_rows;
        return embedding.original_rows(ids_beside(own.rows->value.place(), own.ids));
    });
}

void TrainedTokens::attach(Declarations& model, Linear& head, const Ids& ids) {
    check_free(head.name, !head.adapters.empty(), head.replaced_rows.has_value(), *head.weight);
    head.replaced_rows = declare(model.parameters, head.name, head.weight->shape, ids);
    rows_.push_back(head.replaced_rows->rows);
    originals_.push_back([&head] {
        const ReplacedRows& own = *head.replaced_rows;
        Tensor rows = Tensor::empty(own.rows->shape, DType::f32, own.rows->value.place());
        head.rows->rows(ids_beside(rows.place(), own.ids), rows);
        return rows;
    });
}

void TrainedTokens::attach(Declarations& model, const AdapterOptions& options) {
    const TokenIndices& tokens = options.trainable_token_indices;
    if (tokens.empty()) return;
    check(!model.embeddings.empty(), "{}: a model without an embedding", key);
    Embedding& input = *model.embeddings.front();
    if (tokens.by_module.empty()) return attach(model, input, tokens.ids);

    const Linear* own_head = find(model.linears, std::string(head_name));
    const auto of_input = std::find_if(tokens.by_module.begin(), tokens.by_module.end(),
                                       [&](const auto& one) { return is_path_end(input.name, one.first); });
    for (const auto& [name, ids] : tokens.by_module) {
        if (Embedding* embedding = find(model.embeddings, name)) {
            attach(model, *embedding, ids);
        } else if (Linear* linear = find(model.linears, name); linear && linear == own_head) {
            attach(model, *linear, ids);
        } else {
            const bool tied_head = !own_head && name == head_name;
            require(tied_head, Exit::bad_recipe, "{}: \"{}\" has no rows of tokens; {}expected {}{}", key, name,
                    did_you_mean(name, {"embed_tokens", std::string(head_name)}), input.name,
                    own_head ? format(" or {}", head_name) : "");
            require(of_input != tokens.by_module.end() && of_input->second == ids, Exit::bad_recipe,
                    "{}: the model's output layer is its embedding, so the tokens of {} are those of {}; leave {} out",
                    key, name, input.name, name);
        }
    }
}

void TrainedTokens::initialise() {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
        copy(originals_[i](), rows_[i]->value);
        rows_[i]->changed();
    }
}

}   // namespace trainer
