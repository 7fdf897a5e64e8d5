#pragma once

// A tiny random Llama in hub format, chats to train it on, and a recipe: made fresh in a temporary folder.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "configs/node.h"
#include "hub/safetensors.h"

namespace trainer::test {

// A folder that is gone when the object is.
class ScratchFolder {
public:
    ScratchFolder();
    ~ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

private:
    std::filesystem::path path_;
};

void put_text(const std::filesystem::path& path, std::string_view text);
std::string get_text(const std::filesystem::path& path);

struct TinyShape {
    std::int64_t hidden = 32;
    std::int64_t layers = 2;
    std::int64_t heads = 4;
    std::int64_t kv_heads = 2;
    std::int64_t intermediate = 64;
    std::int64_t vocabulary = 264;   // 256 bytes, merges "at" and "th", three special tokens, three unused
    bool tied = true;
    unsigned seed = 1;
};

// config.json of the shape.
Node tiny_config(const TinyShape& shape = {});

// Names and shapes of the weights, as transformers names them.
std::vector<std::pair<std::string, FileShape>> tiny_tensors(const TinyShape& shape = {});

// model.safetensors with f32 values drawn from the seed; `tensors` may differ from those of a right model.
void write_tiny_weights(const std::filesystem::path& file,
                        const std::vector<std::pair<std::string, FileShape>>& tensors, unsigned seed,
                        FileDType dtype = FileDType::f32);

// Overwrites elements [begin, end) of an f32 tensor in such a file.
void set_weights(const std::filesystem::path& file, const std::string& tensor, std::int64_t begin, std::int64_t end,
                 float value);

// config.json, model.safetensors, tokenizer.json (byte-level BPE), tokenizer_config.json with a ChatML template.
void write_tiny_model(const std::filesystem::path& folder, const TinyShape& shape = {});

// `rows` chats of one to three turns with answers of very unequal lengths, from 3 to about 150 tokens a row.
std::string tiny_chats(int rows, unsigned seed = 7);
// At most 26 chats, each with a capital letter of its own in the answer: 'A' (token 65) in the first row.
std::string lettered_chats(int rows);

// A whole project: model/, train.jsonl with 48 chats in 15 packs, valid.jsonl, and recipe.yaml for LoRA with dropout
// 0.1 in steps of nine leaves, every second one of six. `length` is "steps: 30" or "epochs: 3".
void write_tiny_project(const std::filesystem::path& folder, const std::string& length, int eval_every,
                        int checkpoint_every);

}   // namespace trainer::test
