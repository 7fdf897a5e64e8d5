#include "comm/process_words.h"

#include <unistd.h>

#include <algorithm>

namespace trainer {

std::vector<std::string> environment_with(const std::vector<std::string>& variables) {
    const auto set_anew = [&](const std::string& word) {
        return std::any_of(variables.begin(), variables.end(), [&](const std::string& variable) {
            return word.starts_with(variable.substr(0, variable.find('=') + 1));
        });
    };
    std::vector<std::string> words;
    for (char** entry = environ; *entry; ++entry)
        if (!set_anew(*entry)) words.emplace_back(*entry);
    words.insert(words.end(), variables.begin(), variables.end());
    return words;
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return pointers;
}

}   // namespace trainer
