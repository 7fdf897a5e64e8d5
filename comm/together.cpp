#include "comm/together.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "comm/collective.h"

namespace trainer {

namespace {

std::optional<Error> error_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const std::exception& exception) {
        return as_error(exception);
    }
    return std::nullopt;
}

// "78 message"; "" for no error.
std::string packed(const std::optional<Error>& error) {
    return error ? format("{} {}", static_cast<int>(error->code()), error->what()) : "";
}

std::string message_in(const std::string& text) { return text.substr(text.find(' ') + 1); }

}   // namespace

void together(Communicator& ranks, const std::function<void()>& work) {
    if (ranks.size() == 1) return work();
    const std::vector<std::string> texts = gather_texts(ranks, packed(error_of(work)));
    const auto first = std::find_if(texts.begin(), texts.end(), [](const std::string& text) { return !text.empty(); });
    if (first == texts.end()) return;
    const auto code = static_cast<Exit>(std::stoi(*first));
    if (std::count(texts.begin(), texts.end(), *first) == ranks.size()) throw AgreedError(code, message_in(*first));
    std::string message;
    for (std::size_t rank = 0; rank < texts.size(); ++rank)
        if (!texts[rank].empty())
            message += format("{}{}: {}", message.empty() ? "" : "\n", ranks.name_of(static_cast<int>(rank)),
                              message_in(texts[rank]));
    throw AgreedError(code, message);
}

}   // namespace trainer
