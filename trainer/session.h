#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "peft/adapters_beside.h"
#include "trainer/generator.h"
#include "trainer/inputs.h"

namespace trainer {

// The base model with what the folder of a saved adapter says of its own: chat template and end of text. `adapter` "":
// the base alone.
BaseModel open_base_model(const std::string& model, const std::string& revision, const std::string& adapter);

// A model with its tokenizer and weights, and perhaps saved adapters that act together, ready to be asked.
class Session {
public:
    // Reads everything but the weights. Chat template and end of text are those of the first adapter that has its own.
    // `other_base`: adapters may have been made for other weights (check_base_of).
    Session(const std::string& model, const std::string& revision, const std::vector<NamedAdapter>& adapters,
            bool other_base = false);

    const Tokenizer& tokenizer() const { return *base_.tokenizer; }
    std::vector<std::int32_t> prompt_ids(const std::string& text) const;   // through the post-processor
    std::vector<std::int32_t> chat_ids(const Node& messages) const;        // rendered, ready for the answer
    std::int64_t max_positions() const { return model_->shape().max_positions; }
    const std::vector<std::string>& warnings() const { return base_.warnings; }

    // Allocates and loads; sequences of up to `capacity` tokens can be generated afterwards. Computes in bf16 when
    // the model is stored so, else in f32.
    void load(std::int64_t capacity);
    Generator& generator() { return *generator_; }

private:
    std::vector<std::int32_t> stop_ids() const;

    BaseModel base_;
    std::unique_ptr<CausalLm> model_;
    FrozenAdapters adapters_;
    std::unique_ptr<Generator> generator_;
};

}   // namespace trainer
