#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "configs/json.h"

namespace trainer {

namespace {

class JsonWriter {
public:
    explicit JsonWriter(const JsonStyle& style) : style_(style) {}

    void value(const Node& node, int depth) {
        switch (node.kind()) {
            case Node::Kind::null:
                out += "null";
                break;
            case Node::Kind::boolean:
                out += node.as_bool() ? "true" : "false";
                break;
            case Node::Kind::integer:
                out += std::to_string(node.as_integer());
                break;
            case Node::Kind::number:
                number(node.as_number());
                break;
            case Node::Kind::string:
                string(node.as_string());
                break;
            case Node::Kind::list:
                list(node.as_list(), depth);
                break;
            case Node::Kind::map:
                map(node.as_map(), depth);
                break;
        }
    }

    std::string out;

private:
    void number(double value) {
        if (std::isfinite(value))
            out += python_float(value);
        else if (style_.null_for_nonfinite)
            out += "null";
        else
            out += std::isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity";
    }

    void unicode_escape(unsigned unit) {
        static constexpr char hex[] = "0123456789abcdef";
        out += "\\u";
        for (int shift = 12; shift >= 0; shift -= 4) out += hex[unit >> shift & 0xF];
    }

    void string(std::string_view text) {
        out += '"';
        for (std::size_t i = 0; i < text.size(); ++i) {
            const auto c = static_cast<unsigned char>(text[i]);
            switch (c) {
                case '"':
                    out += "\\\"";
                    continue;
                case '\\':
                    out += "\\\\";
                    continue;
                case '\b':
                    out += "\\b";
                    continue;
                case '\f':
                    out += "\\f";
                    continue;
                case '\n':
                    out += "\\n";
                    continue;
                case '\r':
                    out += "\\r";
                    continue;
                case '\t':
                    out += "\\t";
                    continue;
                default:
                    break;
            }
            if (c < 0x20 || (c == 0x7F && style_.ensure_ascii)) {
                unicode_escape(c);
            } else if (c < 0x80 || !style_.ensure_ascii) {
                out += static_cast<char>(c);
            } else {
                const int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
                unsigned code = c & (0x3Fu >> more);
                for (int k = 0; k < more && i + 1 < text.size(); ++k)
                    code = code << 6 | (static_cast<unsigned char>(text[++i]) & 0x3Fu);
                if (code >= 0x10000) {
                    unicode_escape(0xD800 + ((code - 0x10000) >> 10));
                    unicode_escape(0xDC00 + ((code - 0x10000) & 0x3FF));
                } else {
                    unicode_escape(code);
                }
            }
        }
        out += '"';
    }

    void new_line(int depth) {
        if (style_.indent < 0) return;
        out += '\n';
        out.append(static_cast<std::size_t>(style_.indent) * static_cast<std::size_t>(depth), ' ');
    }

    void comma() { out += style_.compact || style_.indent >= 0 ? "," : ", "; }

    void list(const Node::List& items, int depth) {
        out += '[';
        for (std::size_t i = 0; i < items.size(); ++i) {
            if (i > 0) comma();
            new_line(depth + 1);
            value(items[i], depth + 1);
        }
        if (!items.empty()) new_line(depth);
        out += ']';
    }

    void map(const Node::Map& entries, int depth) {
        std::vector<const Node::Entry*> order;
        order.reserve(entries.size());
        for (const Node::Entry& entry : entries) order.push_back(&entry);
        if (style_.sort_keys)
            std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->key < b->key; });
        out += '{';
        for (std::size_t i = 0; i < order.size(); ++i) {
            if (i > 0) comma();
            new_line(depth + 1);
            string(order[i]->key);
            out += style_.compact ? ":" : ": ";
            value(order[i]->value, depth + 1);
        }
        if (!order.empty()) new_line(depth);
        out += '}';
    }

    const JsonStyle& style_;
};

}   // namespace

std::string to_json(const Node& node, const JsonStyle& style) {
    JsonWriter writer(style);
    writer.value(node, 0);
    return std::move(writer.out);
}

std::string python_float(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    if (value == 0) return std::signbit(value) ? "-0.0" : "0.0";
    // repr writes exponents below -4 and from 16 on, to_chars picks the shorter form: take the digits, place the point.
    char buffer[32];
    const char* end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
    const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
    const std::size_t e = text.find('e');
    const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
    if (exponent < -4 || exponent >= 16) return std::string(text);
    const bool negative = value < 0;
    std::string digits;
    for (const char c : text.substr(0, e))
        if (c != '-' && c != '.') digits += c;
    std::string out = negative ? "-" : "";
    if (exponent < 0) return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
    const auto whole = static_cast<std::size_t>(exponent) + 1;
    if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
    return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

}   // namespace trainer
