#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "configs/node.h"

namespace trainer {

// A chat template: Jinja as transformers renders it (ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop
// controls, {% generation %}), in a sandbox with budgets for steps, depth, memory and output size.
// Immutable after construction; render may be called from several threads.
class ChatTemplate {
public:
    // Error(bad_data) "name:line: …" for a template that cannot be parsed or uses what is not supported.
    ChatTemplate(std::string_view source, const std::string& name);
    ~ChatTemplate();
    ChatTemplate(ChatTemplate&&) noexcept;
    ChatTemplate& operator=(ChatTemplate&&) noexcept;

    struct Request {
        const Node& messages;   // list of {role, content, …}
        bool add_generation_prompt = false;
        const Node* tools = nullptr;   // null: `none` in the template
        const Node* documents = nullptr;
        Node variables;   // bos_token, eos_token, … and the user's own, a map
    };

    // Bytes [begin, end) of the text that were copied out of message `message` (its index): any of its fields but
    // `role`, `name` and `tool_call_id`, also through filters, slices, macros and tojson (whose whole result, brackets
    // included, belongs to the message). Pieces come in the order of the text and do not overlap; neighbours of one
    // message are one piece; text written by the template itself belongs to no piece.
    struct Piece {
        std::size_t begin;
        std::size_t end;
        int message;
    };

    struct Rendered {
        std::string text;
        std::vector<Piece> pieces;
        std::vector<std::pair<std::size_t, std::size_t>>
            generation;   // {% generation %} spans, [begin, end), never empty
    };

    // Error(bad_data) "name:line: …", also for the template's own raise_exception. As transformers does, a message's
    // reasoning is also given as `reasoning_content` and `thinking`, whichever name it came under.
    Rendered render(const Request& request) const;

private:
    struct Program;
    std::unique_ptr<Program> program_;
};

}   // namespace trainer
