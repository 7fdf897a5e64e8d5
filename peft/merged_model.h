#pragma once

#include <map>
#include <string>

#include "hub/weight_source.h"
#include "models/causal_lm.h"
#include "peft/saved_adapter.h"

namespace trainer {

// The weights of a base with a saved adapter in them, one tensor at a time: only the adapter stays in memory, and of
// that not the weights that it brings along whole.
class MergedModel {
public:
    // `adapter` is attached to `model`, which must not be prepared. All three must outlive this. Reads the adapter.
    MergedModel(Declarations& model, const SavedAdapter& adapter, const WeightSource& base);

    // Whether the adapter changes the embedding of a model whose output layer is that embedding. The output layer does
    // not see the change, so that the merged model needs one of its own: the base's embedding.
    bool needs_untying() const;

    // f32 values of a parameter of the base with the adapter's part. Error(diverged) when one is not finite.
    Tensor merged(const Parameter& parameter) const;
    // Those of the base.
    Tensor original(const Parameter& parameter) const;

private:
    static void merge(const Linear& linear, const Parameter& parameter, Tensor& values);

    const Declarations& model_;
    const SavedAdapter& adapter_;
    const WeightSource& base_;
    std::map<std::string, const Linear*> linears_;         // by the names of weight and bias
    std::map<std::string, const Embedding*> embeddings_;   // by the name of the weight
};

}   // namespace trainer
