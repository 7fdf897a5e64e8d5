#include "optim/expression.h"

#include "configs/error.h"

namespace trainer {

std::string why_no_expression(const std::string& pattern) {
    try {
        const std::regex compiled(pattern);
        return "";
    } catch (const std::regex_error& error) {
        return error.what();
    }
}

std::regex compiled_expression(const std::string& pattern, std::string_view key) {
    const std::string why = why_no_expression(pattern);
    require(why.empty(), Exit::bad_recipe, "{}: \"{}\" is no regular expression: {}", key, pattern, why);
    return std::regex(pattern);
}

}   // namespace trainer
