#include "data/jinja_text.h"

#include <algorithm>

#include "data/jinja_unicode.h"

namespace trainer::jinja {

std::size_t code_points(std::string_view bytes) {
    return static_cast<std::size_t>(std::count_if(
        bytes.begin(), bytes.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::size_t character_size(std::string_view bytes, std::size_t at) {
    auto lead = static_cast<unsigned char>(bytes[at]);
    std::size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    return std::min(size, bytes.size() - at);
}

char32_t character_at(std::string_view bytes, std::size_t at) {
    auto lead = static_cast<unsigned char>(bytes[at]);
    if (lead < 0x80) return lead;
    std::size_t size = character_size(bytes, at);
    char32_t c = lead & (0xFF >> (size + 1));
    for (std::size_t i = 1; i < size; ++i) c = (c << 6) | (static_cast<unsigned char>(bytes[at + i]) & 0x3F);
    return c;
}

std::size_t offset_of(const Text& text, std::size_t index) {
    if (text.ascii()) return std::min(index, text.bytes.size());
    std::size_t at = 0;
    for (; index > 0 && at < text.bytes.size(); --index) at += character_size(text.bytes, at);
    return at;
}

void Builder::hold(std::size_t bytes) {
    budget_.copy(bytes);
    budget_.take(bytes);
    held_ += bytes;
}

void Builder::add_run(std::size_t begin, std::size_t end, Tag tag) {
    if (tag.empty() || begin == end) return;
    if (!runs_.empty() && runs_.back().end == begin && runs_.back().tag == tag) {
        runs_.back().end = end;
    } else {
        budget_.take(sizeof(Run));
        held_ += sizeof(Run);
        runs_.push_back({begin, end, tag});
    }
}

void Builder::add(std::string_view bytes, Tag tag) {
    hold(bytes.size());
    add_run(bytes_.size(), bytes_.size() + bytes.size(), tag);
    bytes_ += bytes;
}

void Builder::add(const Text& text, std::size_t begin, std::size_t end) {
    hold(end - begin);
    auto run = std::upper_bound(text.runs.begin(), text.runs.end(), begin,
                                [](std::size_t at, const Run& r) { return at < r.end; });
    for (; run != text.runs.end() && run->begin < end; ++run) {
        std::size_t from = std::max(run->begin, begin) - begin;
        std::size_t to = std::min(run->end, end) - begin;
        add_run(bytes_.size() + from, bytes_.size() + to, run->tag);
    }
    bytes_.append(text.bytes, begin, end - begin);
}

void Builder::add_repeated(std::string_view bytes, std::int64_t count) {
    if (count <= 0 || bytes.empty()) return;
    if (count > Budget::max_bytes) budget_.take(Budget::max_bytes + 1);
    hold(bytes.size() * static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) bytes_ += bytes;
}

void Builder::mark_generation(std::size_t begin, int generation) {
    std::vector<Run> old = std::move(runs_);
    runs_.clear();
    budget_.give(held_);
    held_ = 0;
    hold(bytes_.size());
    std::size_t at = begin;
    for (const Run& run : old) {
        if (run.end <= begin) {
            add_run(run.begin, run.end, run.tag);
            continue;
        }
        add_run(run.begin, std::max(run.begin, begin), run.tag);   // the part before the block
        add_run(at, std::max(run.begin, begin), {-1, generation});
        Tag tag = run.tag;
        if (tag.generation == 0) tag.generation = generation;
        add_run(std::max(run.begin, begin), run.end, tag);
        at = run.end;
    }
    add_run(at, bytes_.size(), {-1, generation});
}

Value Builder::finish() {
    budget_.give(held_);
    held_ = 0;
    auto text = std::make_shared<const Text>(&budget_, std::move(bytes_), std::move(runs_));
    bytes_.clear();
    runs_.clear();
    return Value(std::move(text));
}

Value part(Budget& budget, const Value& text, std::size_t begin, std::size_t end) {
    if (begin == 0 && end == text.bytes().size()) return text;
    Builder out(budget);
    out.add(text.text(), begin, end);
    return out.finish();
}

Value concatenate(Budget& budget, const Value& a, const Value& b) {
    if (a.bytes().empty()) return b;
    if (b.bytes().empty()) return a;
    Builder out(budget);
    out.add(a.text());
    out.add(b.text());
    return out.finish();
}

Value repeat(Budget& budget, const Value& text, std::int64_t count) {
    Builder out(budget);
    if (text.text().runs.empty()) {
        out.add_repeated(text.bytes(), count);
    } else {
        for (std::int64_t i = 0; i < count; ++i) out.add(text.text());
    }
    return out.finish();
}

Value reversed(Budget& budget, const Value& text) {
    const Text& from = text.text();
    Builder out(budget);
    for (std::size_t end = from.bytes.size(); end > 0;) {
        std::size_t begin = end - 1;
        while (begin > 0 && (static_cast<unsigned char>(from.bytes[begin]) & 0xC0) == 0x80) --begin;
        out.add(from, begin, end);
        end = begin;
    }
    return out.finish();
}

Value strip(Budget& budget, const Value& text, const Value* characters, bool left, bool right) {
    const std::string& bytes = text.bytes();
    budget.copy(bytes.size());
    auto strippable = [&](std::size_t at) {
        if (!characters) return is_space(character_at(bytes, at));
        return characters->bytes().find(bytes.substr(at, character_size(bytes, at))) != std::string::npos;
    };
    std::size_t begin = 0;
    std::size_t end = bytes.size();
    while (left && begin < end && strippable(begin)) begin += character_size(bytes, begin);
    while (right && end > begin) {
        std::size_t last = end - 1;
        while (last > begin && (static_cast<unsigned char>(bytes[last]) & 0xC0) == 0x80) --last;
        if (!strippable(last)) break;
        end = last;
    }
    return part(budget, text, begin, end);
}

Value replace(Budget& budget, const Value& text, const std::string& old, const Value& with, std::int64_t count) {
    const Text& from = text.text();
    if (count < 0) count = INT64_MAX;
    Builder out(budget);
    std::size_t at = 0;
    for (; count > 0; --count) {
        if (old.empty()) {   // before every character and at the end
            out.add(with.text());
            if (at == from.bytes.size()) return out.finish();
            std::size_t size = character_size(from.bytes, at);
            out.add(from, at, at + size);
            at += size;
            continue;
        }
        std::size_t found = from.bytes.find(old, at);
        if (found == std::string::npos) break;
        out.add(from, at, found);
        out.add(with.text());
        at = found + old.size();
    }
    if (at == 0) return text;
    out.add(from, at, from.bytes.size());
    return out.finish();
}

std::vector<Value> split(Budget& budget, const Value& text, const std::string* separator, std::int64_t most) {
    const std::string& bytes = text.bytes();
    budget.copy(bytes.size());
    std::vector<Value> parts;
    std::size_t at = 0;
    if (separator) {
        for (; most != 0; --most) {
            std::size_t found = bytes.find(*separator, at);
            if (found == std::string::npos) break;
            parts.push_back(part(budget, text, at, found));
            at = found + separator->size();
        }
        parts.push_back(part(budget, text, at, bytes.size()));
        return parts;
    }
    auto skip = [&](bool space) {
        while (at < bytes.size() && is_space(character_at(bytes, at)) == space) at += character_size(bytes, at);
    };
    for (skip(true); at < bytes.size(); skip(true)) {
        std::size_t begin = at;
        if (most-- == 0) {
            parts.push_back(part(budget, text, begin, bytes.size()));
            return parts;
        }
        skip(false);
        parts.push_back(part(budget, text, begin, at));
    }
    return parts;
}

std::vector<Value> split_right(Budget& budget, const Value& text, const std::string* separator, std::int64_t most) {
    if (most < 0) return split(budget, text, separator, most);
    const std::string& bytes = text.bytes();
    budget.copy(bytes.size());
    std::vector<Value> parts;
    std::size_t end = bytes.size();
    if (separator) {
        for (; most > 0 && end >= separator->size(); --most) {
            std::size_t found = bytes.rfind(*separator, end - separator->size());
            if (found == std::string::npos) break;
            parts.push_back(part(budget, text, found + separator->size(), end));
            end = found;
        }
        parts.push_back(part(budget, text, 0, end));
    } else {
        auto previous = [&] {
            std::size_t last = end - 1;
            while (last > 0 && (static_cast<unsigned char>(bytes[last]) & 0xC0) == 0x80) --last;
            return last;
        };
        auto skip = [&](bool space) {
            while (end > 0 && is_space(character_at(bytes, previous())) == space) end = previous();
        };
        for (skip(true); end > 0; skip(true)) {
            std::size_t stop = end;
            if (most-- == 0) {
                parts.push_back(part(budget, text, 0, stop));
                break;
            }
            skip(false);
            parts.push_back(part(budget, text, end, stop));
        }
    }
    std::reverse(parts.begin(), parts.end());
    return parts;
}

std::vector<Value> split_lines(Budget& budget, const Value& text, bool keep_ends) {
    const std::string& bytes = text.bytes();
    budget.copy(bytes.size());
    std::vector<Value> lines;
    std::size_t begin = 0;
    for (std::size_t at = 0; at < bytes.size();) {
        char32_t c = character_at(bytes, at);
        std::size_t next = at + character_size(bytes, at);
        if (is_line_end(c)) {
            if (c == '\r' && next < bytes.size() && bytes[next] == '\n') ++next;
            lines.push_back(part(budget, text, begin, keep_ends ? next : at));
            begin = next;
        }
        at = next;
    }
    if (begin < bytes.size()) lines.push_back(part(budget, text, begin, bytes.size()));
    return lines;
}

Value join(Budget& budget, const Text& separator, const std::vector<Value>& texts) {
    Builder out(budget);
    for (std::size_t i = 0; i < texts.size(); ++i) {
        if (i > 0) out.add(separator);
        out.add(texts[i].text());
    }
    return out.finish();
}

Value justify(Budget& budget, const Value& text, std::int64_t width, std::string_view fill, int side) {
    const auto length = static_cast<std::int64_t>(text.text().length);
    if (width <= length) return text;
    const std::int64_t space = width - length;
    // Python's str.center puts the odd space at the left when the width is odd.
    const std::int64_t left = side < 0 ? 0 : side > 0 ? space : space / 2 + (space & width & 1);
    Builder out(budget);
    out.add_repeated(fill, left);
    out.add(text.text());
    out.add_repeated(fill, space - left);
    return out.finish();
}

Value change_case(Budget& budget, const Value& text, Case to) {
    const Text& from = text.text();
    Builder out(budget);
    bool word = false;   // the character before belongs to the word
    for (std::size_t at = 0; at < from.bytes.size(); at += character_size(from.bytes, at)) {
        const char32_t c = character_at(from.bytes, at);
        std::string mapped;
        switch (to) {
            case Case::upper:
                append_upper(mapped, c);
                break;
            case Case::lower:
                append_lower(mapped, c);
                break;
            case Case::swap:
                is_upper(c) ? append_lower(mapped, c) : append_upper(mapped, c);
                break;
            case Case::capitalize:
                at == 0 ? append_title(mapped, c) : append_lower(mapped, c);
                break;
            case Case::title:
                word ? append_lower(mapped, c) : append_title(mapped, c);
                word = is_upper(c) || is_lower(c);
                break;
            case Case::filter_title:
                word ? append_lower(mapped, c) : append_upper(mapped, c);
                word = !is_space(c) &&
                       std::string_view("-({[<").find(static_cast<char>(c < 0x80 ? c : 'x')) == std::string_view::npos;
                break;
        }
        out.add(mapped, from.tag_at(at));
    }
    return out.finish();
}

}   // namespace trainer::jinja
