#pragma once

#include <regex>
#include <string>
#include <string_view>

namespace trainer {

// What keeps a pattern from being a regular expression (ECMAScript); "" for one.
std::string why_no_expression(const std::string& pattern);

// Error(bad_recipe) that names the key when it is none.
std::regex compiled_expression(const std::string& pattern, std::string_view key);

}   // namespace trainer
