#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "configs/node.h"
#include "configs/registry.h"

namespace trainer {

// What a row says, whatever it was written as.
struct FormattedRow {
    enum class Kind { chat, prompt_completion, text };
    Kind kind = Kind::text;

    // chat: messages {role, content, …} with null keys removed; those from `completion_begin` on are the completion,
    // which the row names itself (`has_prompt`) or which is the last assistant turn.
    Node messages;
    std::size_t completion_begin = 0;
    bool has_prompt = false;
    Node tools;       // null when absent
    Node documents;   // null when absent
    Node variables;   // the row's chat_template_kwargs, a map, or null

    std::string prompt;       // prompt_completion
    std::string completion;   // prompt_completion, or the text
};

// Reads one row. Error(bad_data) "field …: expected …, found …" without file and row: the caller adds them.
using ReadFormat = FormattedRow (*)(const Node& row);

const Registry<ReadFormat>& data_formats();

}   // namespace trainer
