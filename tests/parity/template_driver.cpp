// Renders chat templates for template.py: one JSON object a line in, one a line out.
//   {"template": …, "messages": […], "tools"?, "documents"?, "add_generation_prompt"?, "variables"?}
//   {"text": …, "pieces": [[begin, end, message], …], "generation": [[begin, end], …]} or {"error": …}
// With "keep": true the template of the line before is used again.
#include <iostream>
#include <memory>
#include <string>

#include "configs/error.h"
#include "configs/json.h"
#include "data/template.h"

namespace {

using trainer::ChatTemplate;
using trainer::Node;

Node answer(const ChatTemplate& chat, const Node& question) {
    const Node* prompt = question.find("add_generation_prompt");
    const Node* variables = question.find("variables");
    ChatTemplate::Request request{question.at("messages"), prompt && prompt->as_bool(), question.find("tools"),
                                  question.find("documents"), variables ? *variables : Node::map()};
    const auto rendered = chat.render(request);
    Node pieces = Node::list();
    for (const auto& piece : rendered.pieces)
        pieces.push_back(
            Node::List{static_cast<std::int64_t>(piece.begin), static_cast<std::int64_t>(piece.end), piece.message});
    Node generation = Node::list();
    for (const auto& [begin, end] : rendered.generation)
        generation.push_back(Node::List{static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end)});
    Node result;
    result = Node::map();
    result.set("text", rendered.text);
    result.set("pieces", std::move(pieces));
    result.set("generation", std::move(generation));
    return result;
}

}   // namespace

int main() {
    std::ios::sync_with_stdio(false);
    std::unique_ptr<ChatTemplate> chat;
    for (std::string line; std::getline(std::cin, line);) {
        Node result;
        try {
            const Node question = trainer::parse_json(line, "question");
            if (const Node* source = question.find("template"))
                chat = std::make_unique<ChatTemplate>(source->as_string(), "template");
            result = answer(*chat, question);
        } catch (const trainer::Error& error) {
            result = Node::map();
            result.set("error", error.what());
        }
        std::cout << trainer::to_json(result) << '\n' << std::flush;
    }
}
