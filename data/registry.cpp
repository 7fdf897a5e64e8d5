#include "data/formats/format.h"
#include "data/formats/messages.h"
#include "data/formats/prompt_completion.h"

namespace trainer {

const Registry<ReadFormat>& data_formats() {
    static const Registry<ReadFormat> table(
        "data format",
        {
            {"messages", "chats: {messages: [{role, content}, …]}", read_messages},
            {"prompt_completion", "{prompt, completion}, texts or lists of messages", read_prompt_completion},
            {"text", "plain documents: {text}", read_text},
        });
    return table;
}

}   // namespace trainer
