// Values as Python's str, repr and json.dumps write them.
#include <algorithm>
#include <cstdio>

#include "configs/error.h"
#include "configs/json.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_operators.h"
#include "data/jinja_unicode.h"

namespace trainer::jinja {

namespace {

Tag tag_of(const Value& value) { return {value.message, 0}; }

void write_string_repr(Builder& out, const Text& text) {
    const std::string& bytes = text.bytes;
    const char quote = bytes.find('\'') != std::string::npos && bytes.find('"') == std::string::npos ? '"' : '\'';
    out.add(std::string_view(&quote, 1));
    std::size_t plain = 0;   // written up to here
    for (std::size_t at = 0; at < bytes.size();) {
        const char32_t c = character_at(bytes, at);
        const std::size_t next = at + character_size(bytes, at);
        char escape[12] = {};
        if (c == U'\\' || c == static_cast<char32_t>(quote))
            std::snprintf(escape, sizeof escape, "\\%c", static_cast<char>(c));
        else if (c == '\n' || c == '\r' || c == '\t')
            std::snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (!is_printable(c))
            std::snprintf(escape, sizeof escape,
                          c < 0x100     ? "\\x%02x"
                          : c < 0x10000 ? "\\u%04x"
                                        : "\\U%08x",
                          static_cast<unsigned>(c));
        if (escape[0]) {
            out.add(text, plain, at);
            out.add(escape, text.tag_at(at));
            plain = next;
        }
        at = next;
    }
    out.add(text, plain, bytes.size());
    out.add(std::string_view(&quote, 1));
}

// What values inside of values may nest, namespaces included.
void require_shallow(int level) {
    if (level > 2 * Budget::max_depth) throw Failure("a value is nested too deeply to be printed");
}

void write_repr_at(Builder& out, const Value& value, int level);

void write_sequence_repr(Builder& out, const Value& value, int level) {
    const Sequence& sequence = value.sequence();
    using Kind = Sequence::Kind;
    const Tag tag = tag_of(value);
    if (sequence.kind == Kind::range) {
        out.add(format("range({}, {}", sequence.start, sequence.stop), tag);
        out.add(sequence.stride == 1 ? ")" : format(", {})", sequence.stride), tag);
        return;
    }
    const bool view = sequence.kind > Kind::range;
    if (view) out.add(value.type_name() + "(", tag);
    const bool tuple = sequence.kind == Kind::tuple;
    out.add(tuple ? "(" : "[", tag);
    for (std::size_t i = 0; i < sequence.items.size(); ++i) {
        if (i > 0) out.add(", ", tag);
        write_repr_at(out, sequence.items[i], level + 1);
    }
    out.add(tuple ? (sequence.items.size() == 1 ? ",)" : ")") : "]", tag);
    if (view) out.add(")", tag);
}

void write_namespace_repr(Builder& out, const Namespace& all, int level) {
    out.add("<Namespace {");
    for (std::size_t i = 0; i < all.attributes.size(); ++i) {
        if (i > 0) out.add(", ");
        write_string_repr(out, Text(nullptr, all.attributes[i].first, {}));
        out.add(": ");
        write_repr_at(out, all.attributes[i].second, level + 1);
    }
    out.add("}>");
}

void write_repr_at(Builder& out, const Value& value, int level) {
    require_shallow(level);
    const Tag tag = tag_of(value);
    switch (value.kind) {
        case Value::Kind::undefined:
            out.add("Undefined");
            break;
        case Value::Kind::none:
            out.add("None", tag);
            break;
        case Value::Kind::boolean:
            out.add(value.integral() ? "True" : "False", tag);
            break;
        case Value::Kind::integer:
            out.add(std::to_string(value.integral()), tag);
            break;
        case Value::Kind::number:
            out.add(python_float(value.numeric()), tag);
            break;
        case Value::Kind::string:
            write_string_repr(out, value.text());
            break;
        case Value::Kind::sequence:
            write_sequence_repr(out, value, level);
            break;
        case Value::Kind::dict: {
            out.add("{", tag);
            bool first = true;
            for (const auto& [key, item] : value.dict().entries) {
                if (!std::exchange(first, false)) out.add(", ", tag);
                write_repr_at(out, key, level + 1);
                out.add(": ", tag);
                write_repr_at(out, item, level + 1);
            }
            out.add("}", tag);
            break;
        }
        case Value::Kind::object:
            if (const auto* all = value.object_of<Namespace>())
                write_namespace_repr(out, *all, level);
            else
                out.add(value.object().repr());
            break;
    }
}

std::string json_leaf(const Value& value, const JsonLayout& layout) {
    JsonStyle style;
    style.ensure_ascii = layout.ensure_ascii;
    switch (value.kind) {
        case Value::Kind::none:
            return "null";
        case Value::Kind::boolean:
            return value.integral() ? "true" : "false";
        case Value::Kind::integer:
            return std::to_string(value.integral());
        case Value::Kind::number:
            return trainer::to_json(Node(value.numeric()), style);
        case Value::Kind::string:
            return trainer::to_json(Node(value.bytes()), style);
        default:
            throw Failure(format("tojson cannot write a value of type {}", value.type_name()));
    }
}

void write_json_leaf(Builder& out, const Value& value, const JsonLayout& layout, bool key) {
    std::string text = json_leaf(value, layout);
    if (key && !value.is_string()) text = '"' + text + '"';
    if (!value.is_string() || value.text().runs.empty()) {
        out.add(text, tag_of(value));
        return;
    }
    // The whole of a string, quotes and escapes too, belongs to the message its first tagged byte came from.
    const auto& runs = value.text().runs;
    const bool one = std::all_of(runs.begin(), runs.end(), [&](const Run& r) { return r.tag == runs[0].tag; });
    if (one) {
        out.add(text, runs[0].tag);
        return;
    }
    out.add("\"");
    std::size_t at = 0;
    auto piece = [&](std::size_t end, Tag tag) {
        JsonStyle style;
        style.ensure_ascii = layout.ensure_ascii;
        const std::string quoted = trainer::to_json(Node(value.bytes().substr(at, end - at)), style);
        out.add(std::string_view(quoted).substr(1, quoted.size() - 2), tag);
        at = end;
    };
    for (const Run& run : runs) {
        piece(run.begin, {});
        piece(run.end, run.tag);
    }
    piece(value.bytes().size(), {});
    out.add("\"");
}

}   // namespace

void write_repr(Builder& out, const Value& value) { write_repr_at(out, value, 0); }

void write_text(Builder& out, const Value& value) {
    if (value.is_string())
        out.add(value.text());
    else if (!value.is_undefined())
        write_repr(out, value);
}

Value to_text(Budget& budget, const Value& value) {
    if (value.is_string()) return value;
    Builder out(budget);
    write_text(out, value);
    return out.finish();
}

void write_json(Budget& budget, Builder& out, const Value& value, const JsonLayout& layout, int level) {
    require_shallow(level);
    const Tag tag = tag_of(value);
    auto new_line = [&](int depth) {
        if (!layout.indent) return;
        out.add("\n", tag);
        for (int i = 0; i < depth; ++i) out.add(*layout.indent, tag);
    };
    const bool list = value.is_sequence() && value.sequence().kind <= Sequence::Kind::tuple;
    if (!list && !value.is_dict()) {
        write_json_leaf(out, value, layout, false);
        return;
    }
    const std::size_t count = list ? value.sequence().items.size() : value.dict().entries.size();
    if (count == 0) {
        out.add(list ? "[]" : "{}", tag);
        return;
    }
    std::vector<const Dict::Entry*> entries;
    if (!list) {
        for (const auto& entry : value.dict().entries) entries.push_back(&entry);
        if (layout.sort_keys)
            std::stable_sort(entries.begin(), entries.end(),
                             [&](auto* a, auto* b) { return order(budget, a->first, b->first) < 0; });
    }
    out.add(list ? "[" : "{", tag);
    for (std::size_t i = 0; i < count; ++i) {
        if (i > 0) out.add(layout.item_separator, tag);
        new_line(level + 1);
        if (list) {
            write_json(budget, out, value.sequence().items[i], layout, level + 1);
        } else {
            write_json_leaf(out, entries[i]->first, layout, true);
            out.add(layout.key_separator, tag);
            write_json(budget, out, entries[i]->second, layout, level + 1);
        }
    }
    new_line(level);
    out.add(list ? "]" : "}", tag);
}

}   // namespace trainer::jinja
