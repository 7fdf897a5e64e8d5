#pragma once

#include <string>
#include <vector>

#include "models/causal_lm.h"
#include "peft/options.h"
#include "peft/targets.h"

namespace trainer {

// Parameters of the base that are trained as copies beside an adapter: modules_to_save and biases. The originals stay
// as they are and count while adapters are off.
class WholeCopies {
public:
    // Declares the copies that the options ask for, trainable, under PEFT's names. A module's path must end with an
    // entry of modules_to_save, or lie below one that does. Error(bad_recipe) when one matches nothing, or the model
    // has no biases to train.
    void attach(Declarations& model, const AdapterOptions& options, const Selection& adapted);
    // A copy of one parameter under a name of its own. Not trained: what a saved adapter brings in place of a weight.
    static Parameter& replace(Declarations& model, Parameter& original, const std::string& name, bool trainable);

    // Gives every copy its original's values.
    void initialise();
    const std::vector<Parameter*>& parameters() const { return copies_; }

private:
    void save_modules(Declarations& model, const std::vector<std::string>& entries);
    void train_biases(Declarations& model, TrainedBias which, const Selection& adapted);
    void add(Declarations& model, Parameter& original, const std::string& name);

    std::vector<Parameter*> originals_;
    std::vector<Parameter*> copies_;
    std::vector<Linear*> linears_;   // whose weight the copy is; null for others
};

}   // namespace trainer
