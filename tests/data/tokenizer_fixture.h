#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "configs/error.h"
#include "configs/json.h"
#include "data/byte_level.h"
#include "data/tokenizer.h"

namespace trainer::test {

// A model with every byte's letter (id = byte) and the given merges of letters, whose results follow from id 256 on.
inline Node byte_model(std::initializer_list<std::pair<std::string, std::string>> merges) {
    Node vocabulary = Node::map(), list = Node::list();
    for (int byte = 0; byte < 256; ++byte) vocabulary.set(byte_level::letter(static_cast<unsigned char>(byte)), byte);
    int next = 256;
    for (const auto& [left, right] : merges) {
        if (!vocabulary.contains(left + right)) vocabulary.set(left + right, next++);
        list.push_back(Node(Node::List{left, right}));
    }
    Node model = Node::map();
    model.set("type", "BPE");
    model.set("vocab", vocabulary);
    model.set("merges", list);
    return model;
}

inline Node json(std::string_view text) { return parse_json(text, "test"); }

inline Node byte_document(std::initializer_list<std::pair<std::string, std::string>> merges) {
    Node document = Node::map();
    document.set("pre_tokenizer", json(R"({"type":"ByteLevel","add_prefix_space":false})"));
    document.set("decoder", json(R"({"type":"ByteLevel"})"));
    document.set("model", byte_model(merges));
    return document;
}

// "id[begin,end) …"
inline std::string shown(const std::vector<Token>& tokens) {
    std::string text;
    for (const Token& token : tokens)
        text += (text.empty() ? "" : " ") + std::to_string(token.id) + "[" + std::to_string(token.begin) + "," +
                std::to_string(token.end) + ")";
    return text;
}

// The message of the Error(bad_data) that a call throws, "" when it throws none.
template <typename Call>
std::string refusal(Call call) {
    try {
        call();
    } catch (const Error& error) {
        return error.code() == Exit::bad_data ? error.what() : "not bad_data";
    }
    return "";
}

}   // namespace trainer::test
