#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "data/jinja_value.h"

namespace trainer::jinja {

// Strings as Python's str, keeping provenance. Positions are bytes unless a name says index; the values taken and
// given are strings. Sources: the Python 3.11 library reference (str methods), Unicode 14 tables.

std::size_t code_points(std::string_view bytes);
std::size_t character_size(std::string_view bytes, std::size_t at);
char32_t character_at(std::string_view bytes, std::size_t at);
std::size_t offset_of(const Text& text, std::size_t index);   // byte of a code point index, at most the size

// Collects a text; what is appended keeps its tags. Neighbouring runs of one tag become one.
class Builder {
public:
    explicit Builder(Budget& budget) : budget_(budget) {}
    ~Builder() { budget_.give(held_); }
    Builder(const Builder&) = delete;
    Builder& operator=(const Builder&) = delete;

    void add(std::string_view bytes, Tag tag = {});
    void add(const Text& text) { add(text, 0, text.bytes.size()); }
    void add(const Text& text, std::size_t begin, std::size_t end);
    void add_spaces(std::int64_t count) { add_repeated(" ", count); }
    void add_repeated(std::string_view bytes, std::int64_t count);
    std::size_t size() const { return bytes_.size(); }
    const std::string& bytes() const { return bytes_; }
    const std::vector<Run>& runs() const { return runs_; }
    // Marks [begin, size()) as written by this {% generation %} block; inner blocks keep their own mark.
    void mark_generation(std::size_t begin, int generation);
    Value finish();

private:
    void hold(std::size_t bytes);
    void add_run(std::size_t begin, std::size_t end, Tag tag);

    Budget& budget_;
    std::size_t held_ = 0;
    std::string bytes_;
    std::vector<Run> runs_;
};

Value part(Budget& budget, const Value& text, std::size_t begin, std::size_t end);
Value concatenate(Budget& budget, const Value& a, const Value& b);
Value repeat(Budget& budget, const Value& text, std::int64_t count);
Value reversed(Budget& budget, const Value& text);

// `characters` null: white space.
Value strip(Budget& budget, const Value& text, const Value* characters, bool left, bool right);
Value replace(Budget& budget, const Value& text, const std::string& old, const Value& with, std::int64_t count);
// `separator` null: runs of white space. `most` < 0: no limit.
std::vector<Value> split(Budget& budget, const Value& text, const std::string* separator, std::int64_t most);
std::vector<Value> split_right(Budget& budget, const Value& text, const std::string* separator, std::int64_t most);
std::vector<Value> split_lines(Budget& budget, const Value& text, bool keep_ends);
Value join(Budget& budget, const Text& separator, const std::vector<Value>& texts);
// Brings the text to `width` code points; `side` -1: text at the left, 0: centred, 1: at the right.
Value justify(Budget& budget, const Value& text, std::int64_t width, std::string_view fill, int side);

enum class Case { upper, lower, swap, capitalize, title, filter_title };
Value change_case(Budget& budget, const Value& text, Case to);

}   // namespace trainer::jinja
