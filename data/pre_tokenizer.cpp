#include "data/pre_tokenizer.h"

#include <algorithm>
#include <functional>
#include <string>
#include <variant>

#include "configs/error.h"
#include "data/gpt2_split.h"
#include "data/regex.h"
#include "data/unicode.h"

namespace trainer {

namespace {

// A part of a text that is or is not a delimiter.
struct Part {
    std::size_t begin;
    std::size_t end;
    bool match;
};
using Parts = std::vector<Part>;

// Adds the match and the text before it, from the end of the last part.
void add_match(Parts& parts, std::size_t begin, std::size_t end) {
    const std::size_t last = parts.empty() ? 0 : parts.back().end;
    if (last != begin) parts.push_back({last, begin, false});
    parts.push_back({begin, end, true});
}

void add_rest(Parts& parts, std::size_t size) {
    const std::size_t last = parts.empty() ? 0 : parts.back().end;
    if (last != size) parts.push_back({last, size, false});
}

Parts find_literal(std::string_view text, const std::string& literal) {
    Parts parts;
    for (std::size_t at = 0; (at = text.find(literal, at)) != std::string_view::npos; at += literal.size())
        add_match(parts, at, at + literal.size());
    add_rest(parts, text.size());
    return parts;
}

// An empty match directly behind the last match does not count; the search goes on one code point later.
Parts find_regex(std::string_view text, const Regex& regex) {
    Parts parts;
    std::size_t from = 0, last_end = std::string_view::npos;
    while (from <= text.size()) {
        const auto match = regex.search(text, from);
        if (!match) break;
        if (match->begin == match->end && match->end == last_end) {
            if (from == text.size()) break;
            from += static_cast<std::size_t>(unicode::decode(text.substr(from)).length);
            continue;
        }
        add_match(parts, match->begin, match->end);
        from = last_end = match->end;
    }
    add_rest(parts, text.size());
    return parts;
}

template <typename Predicate>
Parts find_points(std::string_view text, Predicate is_delimiter) {
    Parts parts;
    for (std::size_t at = 0; at < text.size();) {
        const unicode::Decoded next = unicode::decode(text.substr(at));
        const std::size_t end = at + static_cast<std::size_t>(next.length);
        if (is_delimiter(next.point)) add_match(parts, at, end);
        at = end;
    }
    add_rest(parts, text.size());
    return parts;
}

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

// Joins neighbours as the behaviour says; `match` of the result means nothing.
Parts merged(const Parts& parts, Behavior behavior) {
    Parts result;
    if (behavior == Behavior::removed) {
        std::copy_if(parts.begin(), parts.end(), std::back_inserter(result), [](const Part& p) { return !p.match; });
    } else if (behavior == Behavior::isolated) {
        result = parts;
    } else if (behavior == Behavior::merged_with_next) {
        bool previous = false;
        for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
            if (part->match && !previous && !result.empty())
                result.back().begin = part->begin;
            else
                result.push_back(*part);
            previous = part->match;
        }
        std::reverse(result.begin(), result.end());
    } else {
        bool previous = false;
        for (const Part& part : parts) {
            const bool join = behavior == Behavior::contiguous ? part.match == previous : part.match && !previous;
            if (join && !result.empty())
                result.back().end = part.end;
            else
                result.push_back(part);
            previous = part.match;
        }
    }
    return result;
}

void emit(const Piece& piece, const Parts& parts, std::vector<Piece>& out) {
    for (const Part& part : parts)
        if (part.begin != part.end) out.push_back(piece.part(part.begin, part.end));
}

class Split : public PreTokenizer {
public:
    Split(std::variant<std::string, Regex> pattern, Behavior behavior, bool invert)
        : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

    void split(const Piece& piece, Arena&, std::vector<Piece>& out) const override {
        const auto* regex = std::get_if<Regex>(&pattern_);
        Parts parts =
            regex ? find_regex(piece.text, *regex) : find_literal(piece.text, std::get<std::string>(pattern_));
        if (invert_)
            for (Part& part : parts) part.match = !part.match;
        emit(piece, merged(parts, behavior_), out);
    }

private:
    std::variant<std::string, Regex> pattern_;
    Behavior behavior_;
    bool invert_;
};

class Digits : public PreTokenizer {
public:
    explicit Digits(bool individual) : behavior_(individual ? Behavior::isolated : Behavior::contiguous) {}

    void split(const Piece& piece, Arena&, std::vector<Piece>& out) const override {
        emit(piece, merged(find_points(piece.text, unicode::is_numeric), behavior_), out);
    }

private:
    Behavior behavior_;
};

// Puts a space before every piece that does not begin with one; it shares the source of the first code point.
class PrefixSpace : public PreTokenizer {
public:
    void split(const Piece& piece, Arena& arena, std::vector<Piece>& out) const override {
        if (piece.text[0] == ' ') {
            out.push_back(piece);
            return;
        }
        Changed& changed = arena.emplace_back();
        changed.text.reserve(piece.text.size() + 1);
        changed.text += ' ';
        changed.text += piece.text;
        changed.spans.reserve(changed.text.size());
        changed.spans.push_back(piece.source(0, static_cast<std::size_t>(unicode::decode(piece.text).length)));
        for (std::size_t i = 0; i < piece.text.size(); ++i) changed.spans.push_back(piece.source(i, i + 1));
        out.push_back(changed.piece());
    }
};

class Gpt2Split : public PreTokenizer {
public:
    void split(const Piece& piece, Arena&, std::vector<Piece>& out) const override {
        for (std::size_t at = 0; at < piece.text.size();) {
            const std::size_t length = gpt2_match(piece.text.substr(at));
            out.push_back(piece.part(at, at + length));
            at += length;
        }
    }
};

bool flag(const Node& value, std::string_view key, bool fallback) {
    const Node* found = value.find(key);
    return found == nullptr ? fallback : found->as_bool();
}

Behavior behavior_of(const std::string& name) {
    if (name == "Removed") return Behavior::removed;
    if (name == "Isolated") return Behavior::isolated;
    if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
    if (name == "MergedWithNext") return Behavior::merged_with_next;
    if (name == "Contiguous") return Behavior::contiguous;
    fail(Exit::bad_data,
         "tokenizer.json: pre_tokenizer Split: behavior is \"{}\", expected Removed, Isolated, MergedWithPrevious, "
         "MergedWithNext or Contiguous",
         name);
}

std::unique_ptr<PreTokenizer> make_split(const Node& value) {
    const Behavior behavior = behavior_of(value.at("behavior").as_string());
    const bool invert = flag(value, "invert", false);
    const Node& pattern = value.at("pattern");
    if (const Node* regex = pattern.find("Regex"))
        return std::make_unique<Split>(Regex(regex->as_string()), behavior, invert);
    const Node* literal = pattern.find("String");
    require(
        literal != nullptr && !literal->as_string().empty(), Exit::bad_data,
        "tokenizer.json: pre_tokenizer Split: pattern is {}, expected {{\"Regex\": …}} or {{\"String\": …}} that is "
        "not empty",
        pattern.describe());
    return std::make_unique<Split>(literal->as_string(), behavior, invert);
}

void add_stages(const Node& value, PreTokenizers& made) {
    const std::string& type = value.at("type").as_string();
    require(!made.byte_level, Exit::bad_data,
            "tokenizer.json: pre_tokenizer {} after ByteLevel is not supported: ByteLevel must be the last", type);
    if (type == "Sequence") {
        for (const Node& each : value.at("pretokenizers").as_list()) add_stages(each, made);
    } else if (type == "Split") {
        made.stages.push_back(make_split(value));
    } else if (type == "Digits") {
        made.stages.push_back(std::make_unique<Digits>(flag(value, "individual_digits", false)));
    } else if (type == "ByteLevel") {
        if (flag(value, "add_prefix_space", true)) made.stages.push_back(std::make_unique<PrefixSpace>());
        if (flag(value, "use_regex", true)) made.stages.push_back(std::make_unique<Gpt2Split>());
        made.byte_level = true;
    } else {
        fail(Exit::bad_data,
             "tokenizer.json: pre_tokenizer {} is not supported (ByteLevel, Digits, Split and Sequence are)", type);
    }
}

}   // namespace

PreTokenizers make_pre_tokenizers(const Node& value) {
    PreTokenizers made;
    if (!value.is_null()) add_stages(value, made);
    return made;
}

}   // namespace trainer
