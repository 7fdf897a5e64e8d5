#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trainer::jinja {

struct Token {
    enum class Kind {
        data,             // text outside of tags, white space already trimmed
        variable_begin,   // {{
        variable_end,
        block_begin,   // {%
        block_end,
        name,
        string,    // text: with escapes resolved
        integer,   // text: the digits, without underscores
        number,
        symbol,   // text: the operator
        end,
    };
    Kind kind;
    std::string text;
    int line;
};

// The tokens of a template under trim_blocks and lstrip_blocks; comments are gone, raw blocks are data. The last token
// is `end`. `name` is what messages call the template. Error(bad_data) "name:line: …".
std::vector<Token> tokenize(std::string_view source, const std::string& name);

}   // namespace trainer::jinja
