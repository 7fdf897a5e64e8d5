#include "data/encoder.h"

#include <algorithm>

#include "configs/error.h"

namespace trainer {

namespace {

struct Span {   // bytes of the rendered text
    std::size_t begin;
    std::size_t end;
};

bool is_assistant(const Node& message) { return message.at("role").as_string() == "assistant"; }

// The messages that are trained on.
std::vector<bool> chosen_messages(const FormattedRow& row, TrainOn train_on) {
    const Node::List& messages = row.messages.as_list();
    std::vector<bool> chosen(messages.size());
    const std::size_t begin = row.has_prompt || train_on == TrainOn::completion ? row.completion_begin : 0;
    for (std::size_t i = begin; i < messages.size(); ++i) chosen[i] = is_assistant(messages[i]);
    if (train_on == TrainOn::last) {
        const auto last = std::find(chosen.rbegin(), chosen.rend(), true);
        if (last != chosen.rend()) std::fill(chosen.begin(), last.base() - 1, false);
    }
    return chosen;
}

// Whole text of a chosen message, from its first piece to its last: what the template writes between its pieces
// (markers of reasoning, say) is the model's to produce as well.
std::vector<Span> content_spans(const ChatTemplate::Rendered& rendered, const std::vector<bool>& chosen) {
    std::vector<Span> spans;
    int current = -1;
    for (const ChatTemplate::Piece& piece : rendered.pieces) {
        if (!chosen[static_cast<std::size_t>(piece.message)]) {
            current = -1;
        } else if (piece.message == current) {
            spans.back().end = piece.end;
        } else {
            spans.push_back({piece.begin, piece.end});
            current = piece.message;
        }
    }
    return spans;
}

// {% generation %} spans without text of a message that is not chosen: an empty answer's span counts when all
// messages that were generated do.
std::vector<Span> generation_spans(const ChatTemplate::Rendered& rendered, const std::vector<bool>& chosen,
                                   bool all_chosen) {
    std::vector<Span> spans;
    for (const auto& [begin, end] : rendered.generation) {
        bool trained = all_chosen;
        for (const ChatTemplate::Piece& piece : rendered.pieces)
            if (piece.begin < end && piece.end > begin) {
                trained = chosen[static_cast<std::size_t>(piece.message)];
                if (trained) break;
            }
        if (trained) spans.push_back({begin, end});
    }
    return spans;
}

// Extends a content span through the first special token behind it, unless the next message's text comes first.
void include_end_of_turn(Span& span, const std::vector<Token>& tokens, const std::vector<ChatTemplate::Piece>& pieces,
                         const Tokenizer& tokenizer) {
    std::size_t limit = std::string::npos;
    for (const ChatTemplate::Piece& piece : pieces)
        if (piece.begin >= span.end) {
            limit = piece.begin;
            break;
        }
    for (const Token& token : tokens) {
        const auto begin = static_cast<std::size_t>(token.begin);
        if (begin < span.end || begin == static_cast<std::size_t>(token.end)) continue;
        if (begin >= limit) return;
        if (tokenizer.is_special(token.id)) {
            span.end = static_cast<std::size_t>(token.end);
            return;
        }
    }
}

// Marks the tokens that lie wholly inside a span; counts those that stick out.
void train_inside(const std::vector<Token>& tokens, const std::vector<Span>& spans, EncodedRow& out) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        const auto begin = static_cast<std::size_t>(tokens[i].begin);
        const auto end = static_cast<std::size_t>(tokens[i].end);
        if (begin == end) continue;
        for (const Span& span : spans) {
            if (end <= span.begin || begin >= span.end) continue;
            if (begin >= span.begin && end <= span.end)
                out.trained[i] = 1;
            else
                ++out.boundary_tokens;
        }
    }
}

// As transformers masks generation tags: every token that touches the span.
void train_touching(const std::vector<Token>& tokens, const std::vector<Span>& spans, EncodedRow& out) {
    for (std::size_t i = 0; i < tokens.size(); ++i)
        for (const Span& span : spans)
            if (static_cast<std::size_t>(tokens[i].begin) < span.end &&
                static_cast<std::size_t>(tokens[i].end) > span.begin)
                out.trained[i] = 1;
}

}   // namespace

Encoder::Encoder(const Tokenizer& tokenizer, const ChatTemplate* chat, Special special, EncodeOptions options)
    : tokenizer_(tokenizer), chat_(chat), special_(std::move(special)), options_(std::move(options)) {}

EncodedRow Encoder::encode(const FormattedRow& row) const {
    EncodedRow out = row.kind == FormattedRow::Kind::chat ? encode_chat(row) : encode_plain(row);
    const bool two_bos =
        special_.bos >= 0 && out.ids.size() > 1 && out.ids[0] == special_.bos && out.ids[1] == special_.bos;
    require(!two_bos, Exit::bad_data,
            "the row begins with two BOS tokens ({}): the text already holds one that is added again",
            special_.bos >= 0 ? tokenizer_.token_of(special_.bos) : "");
    return out;
}

EncodedRow Encoder::encode_chat(const FormattedRow& row) const {
    require(chat_ != nullptr, Exit::bad_data,
            "the row is a chat, but the model has no chat template; set data.template to a .jinja file");
    FormattedRow chat = row;
    Node::List& messages = chat.messages.as_list();
    const std::string first_role = messages.front().at("role").as_string();
    if (!options_.system.empty() && first_role != "system" && first_role != "developer") {
        Node system = Node::map();
        system.set("role", "system");
        system.set("content", options_.system);
        messages.insert(messages.begin(), std::move(system));
        ++chat.completion_begin;
    }
    Node variables = special_.variables;
    if (chat.variables.is_map())
        for (const Node::Entry& entry : chat.variables.as_map()) variables.set(entry.key, entry.value);

    const ChatTemplate::Rendered rendered =
        chat_->render({chat.messages, false, chat.tools.is_null() ? nullptr : &chat.tools,
                       chat.documents.is_null() ? nullptr : &chat.documents, variables});
    const std::vector<Token> tokens = tokenizer_.encode(rendered.text, false);
    EncodedRow out;
    out.text = rendered.text;
    out.trained.assign(tokens.size(), 0);
    for (const Token& token : tokens) out.ids.push_back(token.id);

    if (options_.train_on == TrainOn::all) {
        std::fill(out.trained.begin(), out.trained.end(), std::uint8_t{1});
    } else {
        const std::vector<bool> chosen = chosen_messages(chat, options_.train_on);
        if (rendered.generation.empty()) {
            std::vector<Span> spans = content_spans(rendered, chosen);
            for (Span& span : spans) include_end_of_turn(span, tokens, rendered.pieces, tokenizer_);
            train_inside(tokens, spans, out);
        } else {
            const bool all_chosen = options_.train_on == TrainOn::assistant && !chat.has_prompt;
            train_touching(tokens, generation_spans(rendered, chosen, all_chosen), out);
        }
    }
    for (std::size_t i = 1; i < out.ids.size() && out.first_end < 0; ++i)
        if (out.trained[i] && tokenizer_.is_special(out.ids[i])) out.first_end = static_cast<std::int64_t>(i);
    return out;
}

EncodedRow Encoder::encode_plain(const FormattedRow& row) const {
    EncodedRow out;
    out.text = row.prompt + row.completion;
    const std::vector<Token> tokens = tokenizer_.encode(out.text, true);
    out.trained.assign(tokens.size(), 0);
    for (const Token& token : tokens) out.ids.push_back(token.id);
    const bool whole = row.kind == FormattedRow::Kind::text || options_.train_on == TrainOn::all;
    if (whole)
        std::fill(out.trained.begin(), out.trained.end(), std::uint8_t{1});
    else
        train_inside(tokens, {{row.prompt.size(), out.text.size()}}, out);
    if (special_.eos >= 0) {
        if (out.ids.empty() || out.ids.back() != special_.eos) {
            out.ids.push_back(special_.eos);
            out.trained.push_back(1);
        }
        out.trained.back() = 1;
        for (std::size_t i = 1; i < out.ids.size() && out.first_end < 0; ++i)
            if (out.trained[i] && out.ids[i] == special_.eos) out.first_end = static_cast<std::int64_t>(i);
    }
    return out;
}

namespace {

// "<s>" or {"content": "<s>", …}; "" when absent
std::string token_text(const Node& tokenizer_config, const std::string& key) {
    const Node* value = tokenizer_config.find(key);
    if (!value || value->is_null()) return "";
    return value->is_map() ? value->at("content").as_string() : value->as_string();
}

// One integer or a list of them; others are left out.
std::vector<std::int64_t> integers(const Node* value) {
    std::vector<std::int64_t> out;
    if (!value) return out;
    for (const Node& item : value->is_list() ? value->as_list() : Node::List{*value})
        if (item.is_integer()) out.push_back(item.as_integer());
    return out;
}

}   // namespace

Encoder::Special special_tokens(const Node& tokenizer_config, const Node& config, const Tokenizer& tokenizer,
                                const std::string& eos_override, std::vector<std::string>& warnings) {
    Encoder::Special special;
    special.variables = Node::map();
    for (const char* name : {"bos", "eos", "unk", "sep", "pad", "cls", "mask"}) {
        const std::string key = std::string(name) + "_token";
        const std::string text = token_text(tokenizer_config, key);
        if (!text.empty()) special.variables.set(key, text);
    }
    const auto id_of = [&](const std::string& text, const std::string& what) {
        const std::int32_t id = tokenizer.id_of(text);
        require(id >= 0, Exit::bad_data, "{} \"{}\" is not in the tokenizer's vocabulary", what, text);
        return id;
    };
    if (const Node* bos = special.variables.find("bos_token")) special.bos = id_of(bos->as_string(), "bos_token");
    if (!eos_override.empty()) {
        special.eos = id_of(eos_override, "data.eos_token");
        special.variables.set("eos_token", eos_override);
        return special;
    }
    const std::vector<std::int64_t> of_model = integers(config.find("eos_token_id"));
    if (const Node* eos = special.variables.find("eos_token")) {
        special.eos = id_of(eos->as_string(), "eos_token");
        if (!of_model.empty() && std::find(of_model.begin(), of_model.end(), special.eos) == of_model.end())
            warnings.push_back(format(
                "the tokenizer's eos_token \"{}\" is {}, config.json's eos_token_id is {}; the tokenizer's is used "
                "(data.eos_token overrides)",
                eos->as_string(), special.eos, of_model.front()));
    } else if (!of_model.empty()) {
        special.eos = static_cast<std::int32_t>(of_model.front());
    }
    return special;
}

}   // namespace trainer
