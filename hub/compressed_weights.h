#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hub/weight_source.h"

namespace trainer {

// Weights of which another library compressed some: shown under their own names over the tensors that are stored. Those
// that `packed` knows are unpacked when they are read.
class CompressedWeights : public WeightSource {
public:
    const std::vector<std::string>& names() const override { return names_; }
    bool contains(const std::string& name) const override;
    std::span<const std::byte> bytes(const std::string& name) const override { return stored_->bytes(name); }
    void read(const std::string& name, DType target, void* destination) const override;

protected:
    // `folder` is for messages.
    CompressedWeights(std::unique_ptr<WeightSource> stored, std::string folder);

    const WeightSource& stored() const { return *stored_; }
    const std::string& folder() const { return folder_; }
    // Shows a tensor; to be called in the order of stored().names().
    void show(const std::string& name) { names_.push_back(name); }
    [[noreturn]] void refuse(const std::string& name, const std::string& why) const;   // Error(bad_data)

private:
    std::unique_ptr<WeightSource> stored_;
    std::string folder_;
    std::vector<std::string> names_;
};

}   // namespace trainer
