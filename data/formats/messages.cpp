#include "data/formats/messages.h"

#include <algorithm>

#include "configs/error.h"
#include "configs/json.h"

namespace trainer {

namespace {

// Arrow gives every message all keys, absent ones as null; templates that test `is defined` must not see those.
Node without_nulls(const Node& value) {
    if (value.is_list()) {
        Node out = Node::list();
        for (const Node& item : value.as_list()) out.push_back(without_nulls(item));
        return out;
    }
    if (!value.is_map()) return value;
    Node out = Node::map();
    for (const Node::Entry& entry : value.as_map())
        if (!entry.value.is_null()) out.set(entry.key, without_nulls(entry.value));
    return out;
}

void check_content(const Node& message, const std::string& where) {
    const Node* content = message.find("content");
    if (!content) {   // as of an assistant that only calls tools
        require(message.contains("tool_calls"), Exit::bad_data, "{}: \"content\" is missing", where);
        return;
    }
    if (content->is_string()) return;
    require(content->is_list(), Exit::bad_data, "{}.content: expected a string or a list of parts, found {}", where,
            content->describe());
    for (std::size_t i = 0; i < content->size(); ++i) {
        const Node& part = content->as_list()[i];
        const Node* type = part.find("type");
        require(type && type->is_string(), Exit::bad_data, "{}.content[{}]: expected a part with a \"type\", found {}",
                where, i, part.describe());
        require(type->as_string() == "text", Exit::bad_data,
                "{}.content[{}]: parts of type \"{}\" are not supported, expected \"text\"", where, i,
                type->as_string());
        const Node* text = part.find("text");
        require(text && text->is_string(), Exit::bad_data, "{}.content[{}]: \"text\" is missing or no string", where,
                i);
    }
}

// "tools" may be a list or the JSON text of one.
Node list_or_json(const Node& row, const char* key) {
    const Node* value = row.find(key);
    if (!value || value->is_null()) return {};
    Node out = value->is_string() ? parse_json(value->as_string(), key) : *value;
    require(out.is_list(), Exit::bad_data, "{}: expected a list, found {}", key, out.describe());
    return out.size() == 0 ? Node() : without_nulls(out);
}

}   // namespace

Node read_message_list(const Node& row, const std::string& key) {
    const Node* value = row.find(key);
    require(value != nullptr, Exit::bad_data, "field \"{}\" is missing", key);
    require(value->is_list(), Exit::bad_data, "{}: expected a list of messages, found {}", key, value->describe());
    require(value->size() > 0, Exit::bad_data, "{}: the list of messages is empty", key);
    Node messages = without_nulls(*value);
    static const std::vector<std::string> roles = {"system", "developer", "user", "assistant", "tool"};
    for (std::size_t i = 0; i < messages.size(); ++i) {
        const Node& message = messages.as_list()[i];
        const std::string where = format("{}[{}]", key, i);
        require(message.is_map(), Exit::bad_data, "{}: expected a map with role and content, found {}", where,
                message.describe());
        const Node* role = message.find("role");
        require(role != nullptr, Exit::bad_data, "{}: \"role\" is missing", where);
        require(role->is_string(), Exit::bad_data, "{}.role: expected a string, found {}", where, role->describe());
        const std::string& name = role->as_string();
        if (std::find(roles.begin(), roles.end(), name) == roles.end())
            fail(Exit::bad_data, "{}.role: unknown role \"{}\"; {}expected one of {}", where, name,
                 did_you_mean(name, roles), join(roles));
        check_content(message, where);
    }
    return messages;
}

void read_chat_extras(const Node& row, FormattedRow& out) {
    out.tools = list_or_json(row, "tools");
    out.documents = list_or_json(row, "documents");
    if (const Node* variables = row.find("chat_template_kwargs"); variables && !variables->is_null()) {
        require(variables->is_map(), Exit::bad_data, "chat_template_kwargs: expected a map, found {}",
                variables->describe());
        out.variables = *variables;
    }
}

FormattedRow read_messages(const Node& row) {
    FormattedRow out;
    out.kind = FormattedRow::Kind::chat;
    out.messages = read_message_list(row, "messages");
    read_chat_extras(row, out);
    const Node::List& messages = out.messages.as_list();
    bool any = false;
    for (std::size_t i = 0; i < messages.size(); ++i)
        if (messages[i].at("role").as_string() == "assistant") {
            any = true;
            out.completion_begin = i;
        }
    require(any, Exit::bad_data, "messages: there is no assistant turn");
    return out;
}

}   // namespace trainer
