#pragma once

// A mistake of a user: a right set-up, what is changed in it, and what the program must say.

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "configs/node.h"

namespace trainer::test {

struct Mistake {
    std::string name;
    std::vector<std::string> arguments;
    std::function<void(const std::filesystem::path& folder)> spoil = {};
    int code = 0;
    std::string message;   // all of standard error, without its last line break
    bool as_nobody = false;
    bool after_plan = false;   // found while weights are read, when the plan of the run has been printed
    std::string input = {};    // standard input
    std::vector<std::string> environment = {};
};

inline const std::vector<std::string> run_recipe = {"run", "recipe.yaml"};

// A folder with a right set-up: model/, train.jsonl, valid.jsonl and recipe.yaml, which writes to out/.
void write_setup(const std::filesystem::path& folder);
std::string setup_recipe();

// Changes of the set-up.
std::function<void(const std::filesystem::path&)> with_file(const std::string& name, const std::string& text);
std::function<void(const std::filesystem::path&)> without(const std::string& name);
std::function<void(const std::filesystem::path&)> with_recipe(const std::string& from, const std::string& to);
// One key of a JSON file, "" of the path: in the root. A null value removes the key.
std::function<void(const std::filesystem::path&)> with_key(const std::string& file, const std::string& key, Node value);

// Runs the program for every mistake in a fresh copy of the set-up and checks exit code and message, that nothing is
// written to standard output, and that no file has come, gone or changed.
void check_mistakes(const std::vector<Mistake>& mistakes);

}   // namespace trainer::test
