#pragma once

#include <map>
#include <string>
#include <vector>

#include "configs/node.h"
#include "trainer/inputs.h"

namespace trainer {

// What a run's result depends on, as digests by name:
//   program   SHA-256 of the executable
//   recipe    of the resolved recipe without the keys that change no result
//   data      of all rows, training and validation, as tokens with what is trained of them
//   base      of the base model's files, and of the adapter that is trained further
//   numerics  the fingerprint: instruction set and libraries, in words
std::map<std::string, std::string> identity_of(const Inputs& inputs);

// Parts of it, each for itself.
std::string recipe_digest(const Recipe& recipe);
std::string data_digest(const Inputs& inputs);
std::string base_digest(const BaseModel& base, const std::optional<PeftOptions>& peft);
std::string program_digest();

// "v4bf16, oneDNN 2.6.3 with instruction set 0x7ef": within one fingerprint bits are promised.
std::string numerics_fingerprint(Place place);

// A key of the recipe that would change a run's result, with its value in two recipes.
struct RecipeChange {
    std::string key;
    std::string before;
    std::string now;
};
// Of two resolved recipes. Places of files are left out, their contents count; so are keys such as logging.every.
std::vector<RecipeChange> changes_of_result(const Node& before, const Node& now);

}   // namespace trainer
