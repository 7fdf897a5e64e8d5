#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "autograd/tensor.h"

namespace trainer {

class PackedMatrix;

// A named weight. It is declared with a shape first; `value` is defined once the layer's group has chosen the
// physical layout (it may be a view into a fused tensor) and is then filled by loading or initialisation.
// The name is the hub's: "model.layers.0.self_attn.q_proj.weight".
class Parameter {
public:
    Parameter(std::string name, Shape shape) : name(std::move(name)), shape(shape) {}
    Parameter(const Parameter&) = delete;
    Parameter& operator=(const Parameter&) = delete;

    const std::string name;
    const Shape shape;
    Tensor value;                           // undefined while `packed` stands for it
    std::shared_ptr<PackedMatrix> packed;   // a frozen matrix in a compressed format, or null
    Tensor gradient;                        // f32, undefined while nothing was added
    bool trainable = false;
    bool decay = true;                  // weight decay applies (not for biases and norms)
    bool in_base = true;                // stored in the files of the base model (an adapter's is not)
    float lr_scale = 1;                 // the optimizer multiplies its learning rate by this
    DType trained_dtype = DType::f32;   // of `value` while it is trained
    // Takes this parameter's place while adapters are on (a trained copy of a frozen weight); null: nothing does.
    Parameter* replacement = nullptr;

    // Adds g (any float dtype, same shape) to `gradient`, which is kept in f32. Takes g over when it is the first.
    void add_gradient(Tensor g);

    // A gradient of zeros (f32, counted under gradients), to be added to by whoever keeps it.
    Tensor zeroed_gradient(Place place) const;

    // The value in a compute dtype; a converted copy is kept until the value changes.
    const Tensor& in(DType dtype);
    // Sets the value to the f32 numbers that `write` puts, all of them, into the memory it is given; to the nearest
    // ones of its dtype. Does nothing on meta.
    void set(const std::function<void(float*)>& write);
    // To be called after every other change of `value`.
    void changed();
    std::uint64_t version() const { return version_; }

    // Makes now, with few kernels, copies that `in` would make again of parameters of a device.
    static void renew_copies(const std::vector<Parameter*>& parameters);

private:
    bool has_old_copy() const { return copy_.defined() && copy_version_ != version_; }

    Tensor copy_;
    std::uint64_t copy_version_ = 0;
    std::uint64_t version_ = 1;
};

// Owns the parameters of a model, in the order of declaration.
class ParameterSet {
public:
    Parameter& declare(const std::string& name, Shape shape);   // Error(internal) when the name is taken
    Parameter* find(const std::string& name) const;             // null when absent
    const std::vector<std::unique_ptr<Parameter>>& all() const { return all_; }
    std::vector<Parameter*> trainable() const;
    std::int64_t elements(bool trainable_only) const;

    // While one lives, names that are declared begin with `prefix`.
    class NamesBegin {
    public:
        NamesBegin(ParameterSet& set, const std::string& prefix) : set_(set) { set_.prefix_ = prefix; }
        ~NamesBegin() { set_.prefix_.clear(); }
        NamesBegin(const NamesBegin&) = delete;
        NamesBegin& operator=(const NamesBegin&) = delete;

    private:
        ParameterSet& set_;
    };

private:
    std::string prefix_;
    std::vector<std::unique_ptr<Parameter>> all_;
    std::map<std::string, Parameter*> by_name_;
};

}   // namespace trainer
