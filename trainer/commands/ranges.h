#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <string>

namespace trainer {

// Checks of the command line's numbers, in the words of the recipe's.
inline CLI::Validator number_in(double low, double high, const std::string& expected) {
    return CLI::Validator(
        [=](const std::string& text) {
            double value = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            const bool right =
                error == std::errc() && end == text.data() + text.size() && value >= low && value <= high;
            return right ? std::string() : "expected " + expected + ", found " + text;
        },
        "");
}

inline CLI::Validator count_from(int low) {
    return number_in(low, 1e15, "an integer of at least " + std::to_string(low));
}

}   // namespace trainer
