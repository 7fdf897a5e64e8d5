#include "configs/error.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <new>
#include <system_error>

namespace trainer {

namespace detail {

namespace {

template <typename Number>
std::string shortest(Number value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
    return std::string(buffer, end);
}

}   // namespace

Argument::Argument(double value) : text(shortest(value)) {}
Argument::Argument(float value) : text(shortest(value)) {}

std::string format(std::string_view pattern, const Argument* arguments, std::size_t count) {
    std::string out;
    out.reserve(pattern.size() + 16 * count);
    std::size_t next = 0;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        const char c = pattern[i];
        const bool twice = i + 1 < pattern.size() && pattern[i + 1] == c;
        if ((c == '{' || c == '}') && twice) {
            out += c;
            ++i;
        } else if (c == '{' && i + 1 < pattern.size() && pattern[i + 1] == '}') {
            out += next < count ? arguments[next].text : "{}";
            ++next;
            ++i;
        } else {
            out += c;
        }
    }
    return out;
}

}   // namespace detail

namespace {

std::string lines_of(const std::vector<Error>& all) {
    std::string text;
    for (const Error& error : all) {
        if (!text.empty()) text += '\n';
        text += error.what();
    }
    return text;
}

Exit first_class(const std::vector<Error>& all) {
    constexpr Exit order[] = {Exit::usage,       Exit::bad_recipe,    Exit::no_input,
                              Exit::unavailable, Exit::cannot_create, Exit::bad_data};
    for (Exit code : order)
        for (const Error& error : all)
            if (error.code() == code) return code;
    return all.empty() ? Exit::internal : all.front().code();
}

}   // namespace

Errors::Errors(std::vector<Error> all) : Error(first_class(all), lines_of(all)), all_(std::move(all)) {}

Error as_error(const std::exception& exception) {
    if (const auto* error = dynamic_cast<const Error*>(&exception)) return *error;
    if (dynamic_cast<const std::bad_alloc*>(&exception)) return {Exit::out_of_memory, "out of memory"};
    if (const auto* error = dynamic_cast<const std::filesystem::filesystem_error*>(&exception))
        return {Exit::io, format("{}: {}", error->path1().string(), error->code().message())};
    if (const auto* error = dynamic_cast<const std::system_error*>(&exception))
        return {Exit::system, format("the system refuses: {}", error->what())};
    return {Exit::internal, format("internal error: {}", exception.what())};
}

void ErrorCollector::raise() {
    if (!all_.empty()) throw Errors(std::move(all_));
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
    std::string best;
    std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
    for (const std::string& candidate : candidates) {
        std::vector<std::size_t> row(candidate.size() + 1);
        for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
        for (std::size_t i = 1; i <= word.size(); ++i) {
            std::size_t diagonal = row[0];
            row[0] = i;
            for (std::size_t j = 1; j < row.size(); ++j) {
                const std::size_t substitute = diagonal + (word[i - 1] != candidate[j - 1]);
                diagonal = row[j];
                row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
            }
        }
        if (row.back() < best_distance && row.back() < std::max(word.size(), candidate.size())) {
            best_distance = row.back();
            best = candidate;
        }
    }
    return best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
    const std::string near = nearest(word, candidates);
    return near.empty() ? "" : "did you mean \"" + near + "\"? ";
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
    std::string out;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (i > 0) out += separator;
        out += parts[i];
    }
    return out;
}

}   // namespace trainer
