#pragma once

#include <string>

namespace trainer::jinja {

// Character properties as Python 3.11 answers them (Unicode 14).
bool is_space(char32_t c);
bool is_line_end(char32_t c);   // what str.splitlines cuts at ("\r\n" counts once)
bool is_printable(char32_t c);
bool is_alphabetic(char32_t c);
bool is_digit(char32_t c);

// Appends the full case mapping (one to three characters) of c as UTF-8.
void append_upper(std::string& out, char32_t c);
void append_lower(std::string& out, char32_t c);
void append_title(std::string& out, char32_t c);
bool is_upper(char32_t c);   // has a lower form, and is not it
bool is_lower(char32_t c);   // has an upper form, and is not it

}   // namespace trainer::jinja
