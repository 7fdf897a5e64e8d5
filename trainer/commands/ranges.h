#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <string>

namespace trainer {

// Checks of the command line's values, in the words of the recipe's.

inline std::string expected_found(const std::string& expected, const std::string& text) {
    return "expected " + expected + ", found " + (text.empty() ? "an empty text" : text);
}

inline CLI::Validator number_in(double low, double high, const std::string& expected) {
    return CLI::Validator(
        [=](const std::string& text) {
            double value = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            const bool right =
                error == std::errc() && end == text.data() + text.size() && value >= low && value <= high;
            return right ? std::string() : expected_found(expected, text);
        },
        "");
}

// An integer from `low` to `high`; `high` is named only to who went beyond it.
inline CLI::Validator count_from(std::int64_t low, std::int64_t high = 1'000'000'000'000'000) {
    return CLI::Validator(
        [=](const std::string& text) {
            std::int64_t value = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            const bool whole = error != std::errc::invalid_argument && end == text.data() + text.size();
            const bool beyond = whole && (error == std::errc::result_out_of_range || value > high);
            if (whole && !beyond && value >= low) return std::string();
            return expected_found(beyond ? "an integer from " + std::to_string(low) + " to " + std::to_string(high)
                                         : "an integer of at least " + std::to_string(low),
                                  text);
        },
        "");
}

// A text that is not empty; `expected` says what it is.
inline CLI::Validator not_blank(const std::string& expected) {
    return CLI::Validator(
        [=](const std::string& text) { return text.empty() ? expected_found(expected, text) : std::string(); }, "");
}

}   // namespace trainer
