#pragma once

#include <string>

#include "data/formats/format.h"

namespace trainer {

// {"messages": [{"role": "user", "content": "…"}, …], "tools"?: […], "documents"?: […], "chat_template_kwargs"?: {…}}
// The completion is the last assistant turn.
FormattedRow read_messages(const Node& row);

// A checked list of messages, null keys removed: known roles, content a string or a list of text parts.
Node read_message_list(const Node& row, const std::string& key);
// tools, documents and chat_template_kwargs of a row.
void read_chat_extras(const Node& row, FormattedRow& out);

}   // namespace trainer
