#include <cmath>

#include "configs/error.h"
#include "configs/json.h"
#include "configs/yaml.h"
#include "configs/yaml_scalar.h"

namespace trainer {

namespace {

class YamlWriter {
public:
    void document(const Node& node) {
        if (in_one_line(node)) {
            out += inline_value(node) + "\n";
        } else {
            block(node, 0);
        }
    }

    std::string out;

private:
    static bool is_scalar(const Node& node) { return !node.is_list() && !node.is_map(); }

    static bool in_one_line(const Node& node) {
        if (node.is_map()) return node.size() == 0;
        if (!node.is_list()) return true;
        for (const Node& item : node.as_list())
            if (!is_scalar(item)) return false;
        return true;
    }

    static std::string text_of(const std::string& text) {
        constexpr std::string_view safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";
        const bool plain = !text.empty() && text.find_first_not_of(safe) == std::string::npos && text[0] != '-' &&
                           yaml_scalar(text).is_string();
        if (plain) return text;
        std::string quoted = to_json(Node(text));
        std::string out;
        for (const char c : quoted) {
            if (c == 0x7F)
                out += "\\x7F";
            else
                out += c;
        }
        return out;
    }

    static std::string inline_value(const Node& node) {
        switch (node.kind()) {
            case Node::Kind::string:
                return text_of(node.as_string());
            case Node::Kind::number: {
                const double value = node.as_number();
                if (std::isnan(value)) return ".nan";
                if (std::isinf(value)) return value < 0 ? "-.inf" : ".inf";
                return python_float(value);
            }
            case Node::Kind::list: {
                std::vector<std::string> items;
                for (const Node& item : node.as_list()) items.push_back(inline_value(item));
                return "[" + join(items) + "]";
            }
            case Node::Kind::map:
                return "{}";
            default:
                return to_json(node);
        }
    }

    void child(const Node& node, int depth) {
        if (in_one_line(node)) {
            out += " " + inline_value(node) + "\n";
        } else {
            out += "\n";
            block(node, depth + 1);
        }
    }

    void block(const Node& node, int depth) {
        const std::string indent(static_cast<std::size_t>(depth) * 2, ' ');
        if (node.is_list()) {
            for (const Node& item : node.as_list()) {
                out += indent + "-";
                child(item, depth);
            }
        } else {
            for (const Node::Entry& entry : node.as_map()) {
                out += indent + text_of(entry.key) + ":";
                child(entry.value, depth);
            }
        }
    }
};

}   // namespace

std::string to_yaml(const Node& node) {
    YamlWriter writer;
    writer.document(node);
    return std::move(writer.out);
}

}   // namespace trainer
