// tiny_project FOLDER: a tiny model, chats and a recipe of 30 steps, for scripts that run the program.
#include <cstdio>

#include "tests/support/tiny_model.h"

namespace {

constexpr const char* recipe = R"(model: {base: model}
data: {train: {path: train.jsonl}, valid: {path: valid.jsonl}, max_length: 256, packing: true}
peft: {method: lora, rank: 4, alpha: 8, dropout: 0.1}
training: {steps: 30, batch: 9, micro_batch: 1, precision: f32}
optimizer: {lr: 5e-3, weight_decay: 0.1}
schedule: {warmup: 1}
eval: {every: 7}
checkpoint: {every: 4, keep: 3}
output: out
)";

}   // namespace

int main(int count, char** words) {
    using namespace trainer::test;
    if (count != 2) {
        std::fputs("usage: tiny_project FOLDER\n", stderr);
        return 64;
    }
    const std::filesystem::path folder = words[1];
    std::filesystem::create_directories(folder);
    write_tiny_model(folder / "model");
    put_text(folder / "train.jsonl", tiny_chats(48));
    put_text(folder / "valid.jsonl", tiny_chats(12, 9));
    put_text(folder / "recipe.yaml", recipe);
}
