#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "autograd/parameter.h"

namespace trainer {

class Linear;
class Embedding;

// What the constructor of a model declares: parameters by hub name, and every Linear and Embedding for adapters and
// quantisation.
struct Declarations {
    ParameterSet parameters;
    std::vector<Linear*> linears;
    std::vector<Embedding*> embeddings;
};

// A path prefix in the model. A layer's constructor declares its weights under a scope; nothing is read or allocated.
class Scope {
public:
    explicit Scope(Declarations& declarations) : declarations_(&declarations) {}
    Scope operator/(std::string_view child) const {
        return Scope(*declarations_, path_.empty() ? std::string(child) : path_ + "." + std::string(child));
    }
    Scope operator/(int index) const { return *this / std::to_string(index); }

    const std::string& path() const { return path_; }
    Declarations& declarations() const { return *declarations_; }
    Parameter& parameter(std::string_view leaf, Shape shape) const {
        return declarations_->parameters.declare((*this / leaf).path(), shape);
    }

private:
    Scope(Declarations& declarations, std::string path) : declarations_(&declarations), path_(std::move(path)) {}

    Declarations* declarations_;
    std::string path_;
};

}   // namespace trainer
