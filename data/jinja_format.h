#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "data/jinja_text.h"
#include "data/jinja_value.h"

namespace trainer::jinja {

// How one value is to be written.
struct FormatStyle {
    std::string_view fill = " ";   // one character
    char align = 0;                // '<', '>', '^', '=' (after the sign), 0: as the type has it
    char sign = '-';
    bool alternate = false;
    bool grouped = false;
    char group = ',';
    std::int64_t width = 0;
    std::int64_t precision = -1;
    char type = 0;
};

constexpr std::int64_t widest_format = 1'000'000;

// The digits at text[at], which moves behind them; Failure above widest_format.
std::int64_t read_number(const std::string& text, std::size_t& at);

// One value, padded to its width.
void add_string(Builder& out, const Value& text, const FormatStyle& style);
void add_integer(Builder& out, std::int64_t value, const FormatStyle& style, Tag tag);
void add_float(Builder& out, double value, const FormatStyle& style, Tag tag);

}   // namespace trainer::jinja
