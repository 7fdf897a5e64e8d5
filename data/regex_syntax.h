#pragma once

#include <string>
#include <string_view>

namespace trainer {

// A pattern of tokenizer.json (Oniguruma syntax, Unicode 16.0) as PCRE2 10.42 (Unicode 14.0) understands it:
// - \p{…}, \w, \d, \s and their opposites match exactly the code points of Unicode 16.0;
// - {,n} becomes {0,n}.
// What the two engines read differently (nested classes, &&, POSIX brackets, scripts, \h, (?m) …) is an Error(bad_data)
// naming it.
std::string pcre2_pattern(std::string_view oniguruma);

}   // namespace trainer
