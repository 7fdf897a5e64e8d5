#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace trainer {

// A compiled regular expression (PCRE2, JIT). May be used from several threads.
class Regex {
public:
    // Oniguruma syntax (data/regex_syntax.h). Error(bad_data) when it cannot be compiled.
    explicit Regex(const std::string& oniguruma);
    ~Regex();
    Regex(Regex&&) noexcept;

    struct Match {
        std::size_t begin;
        std::size_t end;
    };

    // The first match that begins at or after `from`; `text` is valid UTF-8. Error(bad_data) when the search takes
    // more steps than any pattern in real use needs.
    std::optional<Match> search(std::string_view text, std::size_t from) const;

private:
    struct Program;
    std::unique_ptr<Program> program_;
};

// "PCRE2 10.42 2022-12-11"
std::string regex_library();

}   // namespace trainer
