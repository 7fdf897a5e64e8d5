#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "configs/error.h"
#include "configs/node.h"

namespace trainer {

// The values of a configuration file by key, each of one type: Error(bad_data) naming the file and the key for another.
struct ConfigReader {
    const Node& document;
    const std::string& where;

    // Absent and null mean the default.
    const Node* find(std::string_view key) const { return document.find_value(key); }
    [[noreturn]] void mismatch(std::string_view key, std::string_view expected) const {
        fail(Exit::bad_data, "{}: {}: expected {}, found {}", where, key, expected, document.at(key).describe());
    }
    std::string text(std::string_view key) const {
        const Node* node = find(key);
        if (!node) return "";
        if (!node->is_string()) mismatch(key, "a string");
        return node->as_string();
    }
    bool flag(std::string_view key) const {
        const Node* node = find(key);
        if (!node) return false;
        if (!node->is_bool()) mismatch(key, "true or false");
        return node->as_bool();
    }
    std::int64_t integer(std::string_view key, std::int64_t otherwise) const {
        const Node* node = find(key);
        if (!node) return otherwise;
        if (!node->is_integer()) mismatch(key, "an integer");
        return node->as_integer();
    }
    double number(std::string_view key, double otherwise) const {
        const Node* node = find(key);
        if (!node) return otherwise;
        if (!node->is_number()) mismatch(key, "a number");
        return node->as_number();
    }
    std::vector<std::int64_t> integers(std::string_view key, const Node& list) const {
        std::vector<std::int64_t> result;
        if (!list.is_list()) mismatch(key, "a list of integers");
        for (const Node& item : list.as_list()) {
            if (!item.is_integer()) mismatch(key, "a list of integers");
            result.push_back(item.as_integer());
        }
        return result;
    }
    std::vector<std::string> texts(std::string_view key) const {
        std::vector<std::string> result;
        const Node* node = find(key);
        if (!node) return result;
        if (node->is_string()) return {node->as_string()};
        if (!node->is_list()) mismatch(key, "a list of strings");
        for (const Node& item : node->as_list()) {
            if (!item.is_string()) mismatch(key, "a list of strings");
            result.push_back(item.as_string());
        }
        return result;
    }
    // A string is a regex, a list holds suffixes.
    void modules(std::string_view key, std::vector<std::string>& suffixes, std::string& regex) const {
        const Node* node = find(key);
        if (node && node->is_string()) {
            regex = node->as_string();
        } else {
            suffixes = texts(key);
        }
    }
    const Node::Map& map(std::string_view key) const {
        static const Node::Map none;
        const Node* node = find(key);
        if (!node) return none;
        if (!node->is_map()) mismatch(key, "a map");
        return node->as_map();
    }
};

}   // namespace trainer
