#include "data/template.h"

#include <algorithm>
#include <array>

#include "configs/error.h"
#include "configs/utf8.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_parser.h"

namespace trainer {

struct ChatTemplate::Program {
    std::string name;
    jinja::Syntax syntax;
};

namespace {

using jinja::Budget;
using jinja::Value;

// A document as the template sees it, marked as copied out of `message` (-1: of none).
Value from_node(Budget& budget, const Node& node, int message) {
    budget.step();
    Value value(nullptr);
    switch (node.kind()) {
        case Node::Kind::null:
            break;
        case Node::Kind::boolean:
            value = Value(node.as_bool());
            break;
        case Node::Kind::integer:
            value = Value(node.as_integer());
            break;
        case Node::Kind::number:
            value = Value(node.as_number());
            break;
        case Node::Kind::string: {
            const std::string& text = node.as_string();
            if (first_invalid_utf8(text) != text.size())
                throw jinja::Failure("a string given to the template is not valid UTF-8");
            return jinja::make_text(budget, text, {message, 0});
        }
        case Node::Kind::list: {
            std::vector<Value> items;
            for (const Node& item : node.as_list()) items.push_back(from_node(budget, item, message));
            value = jinja::make_list(budget, std::move(items));
            break;
        }
        case Node::Kind::map: {
            std::vector<jinja::Dict::Entry> entries;
            for (const auto& entry : node.as_map())
                entries.emplace_back(jinja::make_text(budget, entry.key, {message, 0}),
                                     from_node(budget, entry.value, message));
            value = jinja::make_dict(budget, std::move(entries));
            break;
        }
    }
    value.message = message;
    return value;
}

// A message. What names the speaker or the call it answers is nobody's text. Reasoning goes by several names; as
// transformers does, the first that is given is `reasoning_content`, and `thinking` too unless the message has its own.
Value from_message(Budget& budget, const Node& node, int message) {
    if (!node.is_map()) throw jinja::Failure(format("message {} is {}, expected a map", message, node.describe()));
    static constexpr std::array<std::string_view, 3> names = {"reasoning_content", "thinking", "reasoning"};
    const Node* reasoning = nullptr;
    for (std::string_view key : names)
        if (const Node* found = node.find(key); !reasoning && found && !found->is_null()) reasoning = found;
    Node complete = Node::map();
    if (reasoning) complete.set("thinking", *reasoning);
    for (const auto& field : node.as_map()) complete.set(field.key, field.value);
    if (reasoning) complete.set("reasoning_content", *reasoning);
    static constexpr std::array<std::string_view, 3> labels = {"role", "name", "tool_call_id"};
    std::vector<jinja::Dict::Entry> entries;
    for (const auto& field : complete.as_map()) {
        const bool label = std::find(labels.begin(), labels.end(), field.key) != labels.end();
        entries.emplace_back(jinja::make_text(budget, field.key, {message, 0}),
                             from_node(budget, field.value, label ? -1 : message));
    }
    Value value = jinja::make_dict(budget, std::move(entries));
    value.message = message;
    return value;
}

Value from_messages(Budget& budget, const Node& messages) {
    if (!messages.is_list()) throw jinja::Failure(format("messages are {}, expected a list", messages.describe()));
    std::vector<Value> all;
    for (const Node& message : messages.as_list())
        all.push_back(from_message(budget, message, static_cast<int>(all.size())));
    return jinja::make_list(budget, std::move(all));
}

ChatTemplate::Rendered collect(const jinja::Text& text) {
    ChatTemplate::Rendered rendered;
    rendered.text = text.bytes;
    int generation = 0;
    for (const jinja::Run& run : text.runs) {
        auto& pieces = rendered.pieces;
        if (run.tag.message >= 0) {
            if (!pieces.empty() && pieces.back().end == run.begin && pieces.back().message == run.tag.message)
                pieces.back().end = run.end;
            else
                pieces.push_back({run.begin, run.end, run.tag.message});
        }
        auto& spans = rendered.generation;
        if (run.tag.generation > 0) {
            if (!spans.empty() && spans.back().second == run.begin && generation == run.tag.generation)
                spans.back().second = run.end;
            else
                spans.emplace_back(run.begin, run.end);
        }
        generation = run.tag.generation;
    }
    return rendered;
}

}   // namespace

ChatTemplate::ChatTemplate(std::string_view source, const std::string& name)
    : program_(std::make_unique<Program>(Program{name, {}})) {
    require(source.size() <= 16u << 20, Exit::bad_data, "{}:1: the template is larger than 16 MiB", name);
    program_->syntax = jinja::parse(source, program_->name);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

ChatTemplate::Rendered ChatTemplate::render(const Request& request) const {
    Budget budget;   // outlives everything made with it
    jinja::Evaluator evaluator(program_->syntax, budget);
    const std::string& name = program_->name;
    try {
        std::vector<std::pair<std::string, Value>> variables;
        if (request.variables.is_map())
            for (const auto& entry : request.variables.as_map())
                variables.emplace_back(entry.key, from_node(budget, entry.value, -1));
        auto optional = [&](const Node* node) { return node ? from_node(budget, *node, -1) : Value(nullptr); };
        variables.emplace_back("messages", from_messages(budget, request.messages));
        variables.emplace_back("tools", optional(request.tools));
        variables.emplace_back("documents", optional(request.documents));
        variables.emplace_back("add_generation_prompt", Value(request.add_generation_prompt));
        return collect(evaluator.run(std::move(variables)).text());
    } catch (const jinja::Failure& failure) {
        fail(Exit::bad_data, "{}:{}: {}", name, evaluator.line(), failure.what());
    }
}

}   // namespace trainer
