#pragma once

#include <functional>
#include <vector>

#include "models/causal_lm.h"
#include "peft/options.h"

namespace trainer {

// Rows of the input embedding, and of an output layer of its own where the options name it, that are trained beside an
// adapter in place of the base's. A tied output layer has the trained rows too.
class TrainedTokens {
public:
    // Declares the rows under PEFT's names, after the adapter has filled its slots. Error(bad_recipe) for a module that
    // is neither, or is adapted or trained whole, and for a token outside the vocabulary.
    void attach(Declarations& model, const AdapterOptions& options);

    // Gives the rows the base's values.
    void initialise();
    const std::vector<Parameter*>& parameters() const { return rows_; }

private:
    using Ids = std::vector<std::int64_t>;
    void attach(Declarations& model, Embedding& embedding, const Ids& ids);
    void attach(Declarations& model, Linear& head, const Ids& ids);

    std::vector<Parameter*> rows_;
    std::vector<std::function<Tensor()>> originals_;   // their rows in the base, f32
};

}   // namespace trainer
