#include "data/formats/prompt_completion.h"

#include "configs/error.h"
#include "data/formats/messages.h"

namespace trainer {

namespace {

const Node& present(const Node& row, const char* key) {
    const Node* value = row.find(key);
    require(value && !value->is_null(), Exit::bad_data, "field \"{}\" is missing", key);
    return *value;
}

const std::string& text_field(const Node& row, const char* key, const char* expected) {
    const Node& value = present(row, key);
    require(value.is_string(), Exit::bad_data, "{}: expected {}, found {}", key, expected, value.describe());
    return value.as_string();
}

}   // namespace

FormattedRow read_prompt_completion(const Node& row) {
    FormattedRow out;
    if (present(row, "prompt").is_list() || present(row, "completion").is_list()) {
        out.kind = FormattedRow::Kind::chat;
        out.messages = read_message_list(row, "prompt");
        out.completion_begin = out.messages.size();
        out.has_prompt = true;
        const Node completion = read_message_list(row, "completion");
        bool any = false;
        for (const Node& message : completion.as_list()) {
            any = any || message.at("role").as_string() == "assistant";
            out.messages.push_back(message);
        }
        require(any, Exit::bad_data, "completion: there is no assistant turn");
        read_chat_extras(row, out);
        return out;
    }
    constexpr const char* expected = "a string or a list of messages";
    out.kind = FormattedRow::Kind::prompt_completion;
    out.prompt = text_field(row, "prompt", expected);
    out.completion = text_field(row, "completion", expected);
    require(!out.completion.empty(), Exit::bad_data, "completion: the text is empty");
    return out;
}

FormattedRow read_text(const Node& row) {
    FormattedRow out;
    out.kind = FormattedRow::Kind::text;
    out.completion = text_field(row, "text", "a string");
    require(!out.completion.empty(), Exit::bad_data, "text: the text is empty");
    return out;
}

}   // namespace trainer
