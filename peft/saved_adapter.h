#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "peft/method.h"

namespace trainer {

// An adapter read from a PEFT folder onto a model: a method whose first values are the saved ones.
class SavedAdapter : public PeftMethod {
public:
    // Errors of AdapterFile. One with a name acts beside others without being trained: the names of its parameters
    // begin with it, nothing is dropped in front of it.
    explicit SavedAdapter(const std::filesystem::path& folder, const std::string& name = "");

    // Error(bad_data) when a module is not in the model or has another shape, when a tensor is missing or of another
    // shape than the configuration says, and when there is one that it does not explain (adapter_agreement.h).
    void attach(Declarations& model) override;
    void initialise(std::uint64_t seed = 0) override;   // reads; the seed has no say
    const std::vector<Parameter*>& parameters() const override { return method_->parameters(); }
    std::vector<Parameter*> frozen() const override;
    AdapterConfig config() const override { return file_.config(); }
    std::vector<AdapterTensor> tensors(const std::function<const float*(const Parameter&)>& values) const override;

    // The saved f32 values of one of its parameters, or of one that it brings along in place of a weight of the base
    // (Parameter::replacement).
    void read(const Parameter& parameter, float* values) const { file_.read(saved_name(parameter), values); }

    const std::vector<std::string>& notes() const { return notes_; }   // what it holds without effect

private:
    std::string saved_name(const Parameter& parameter) const { return parameter.name.substr(prefix_.size()); }
    std::vector<Parameter*> own() const;   // trained and frozen
    void check_modules(const Declarations& model) const;
    void attach_replacements(Declarations& model);

    std::string folder_;
    std::string prefix_;
    AdapterFile file_;
    std::vector<std::string> notes_;
    std::unique_ptr<PeftMethod> method_;
    std::vector<Parameter*> replacements_;   // weights of the base that it brings along
};

}   // namespace trainer
