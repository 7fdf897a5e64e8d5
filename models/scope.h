#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "autograd/parameter.h"

namespace trainer {

class Linear;
class Embedding;

// Whether `end` is the path of a module or the end of it after a dot: "mlp.up_proj" of "model.layers.0.mlp.up_proj".
inline bool is_path_end(std::string_view path, std::string_view end) {
    return path.ends_with(end) &&
           (path.size() == end.size() || (!end.empty() && path[path.size() - end.size() - 1] == '.'));
}

// The path of the layer that makes the logits, where a model has one of its own.
inline constexpr std::string_view head_name = "lm_head";

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
