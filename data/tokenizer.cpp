#include "data/tokenizer.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <unordered_map>

#include "configs/error.h"
#include "configs/utf8.h"
#include "data/added_tokens.h"
#include "data/bpe.h"
#include "data/byte_level.h"
#include "data/decoder.h"
#include "data/post_processor.h"
#include "data/pre_tokenizer.h"
#include "data/unicode.h"
#include "data/word_cache.h"

namespace trainer {

namespace {

const Node& part(const Node& document, std::string_view key) {
    static const Node absent;
    const Node* found = document.find(key);
    return found == nullptr ? absent : *found;
}

bool flag(const Node& token, std::string_view key) {
    const Node* found = token.find(key);
    return found != nullptr && found->as_bool();
}

// Ids follow from the order of the list; an id field that says something else is an error.
std::vector<AddedToken> read_added_tokens(const Node& list, const Bpe& model) {
    std::vector<AddedToken> tokens;
    if (list.is_null()) return tokens;
    std::unordered_map<std::string, std::int32_t> ids;
    std::int32_t next = model.size();
    for (const Node& entry : list.as_list()) {
        AddedToken token;
        token.content = entry.at("content").as_string();
        if (token.content.empty() || ids.count(token.content) > 0) continue;
        const std::int32_t known = model.id_of(token.content);
        token.id = known >= 0 ? known : next;
        require(
            entry.at("id").as_integer() == token.id, Exit::bad_data,
            "tokenizer.json: added_tokens: \"{}\" has the id {} but gets {}: tokens outside model.vocab must follow "
            "it in ascending order without gaps",
            token.content, entry.at("id").as_integer(), token.id);
        next = std::max(next, token.id + 1);
        token.single_word = flag(entry, "single_word");
        token.lstrip = flag(entry, "lstrip");
        token.rstrip = flag(entry, "rstrip");
        token.normalized = flag(entry, "normalized");
        token.special = flag(entry, "special");
        ids.emplace(token.content, token.id);
        tokens.push_back(std::move(token));
    }
    return tokens;
}

std::vector<AddedToken> chosen(const std::vector<AddedToken>& tokens, bool normalized) {
    std::vector<AddedToken> result;
    std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(result),
                 [&](const AddedToken& token) { return token.normalized == normalized; });
    return result;
}

// The memory of one encode; reused, so that a thread finds its words cached.
struct Workspace {
    Arena arena;
    std::vector<AddedTokenFinder::Part> raw_parts, parts;
    std::vector<Piece> words, stage;
    std::vector<Bpe::Part> word_parts;
    Bpe::Scratch scratch;
    WordCache cache;
};

class BpeTokenizer : public Tokenizer {
public:
    explicit BpeTokenizer(const Node& document)
        : pre_tokenizers_(make_pre_tokenizers(part(document, "pre_tokenizer"))),
          model_(document.at("model"), pre_tokenizers_.byte_level),
          added_(read_added_tokens(part(document, "added_tokens"), model_)),
          raw_finder_(chosen(added_, false)),
          normalized_finder_(chosen(added_, true)),
          post_processor_(make_post_processor(part(document, "post_processor"))),
          decoder_(make_decoder(part(document, "decoder"))),
          end_id_(model_.end_id()) {
        const Node& normalizer = part(document, "normalizer");
        require(normalizer.is_null(), Exit::bad_data, "tokenizer.json: normalizer {} is not supported (null is)",
                normalizer.is_null() ? "" : normalizer.at("type").as_string());
        for (const AddedToken& token : added_) {
            added_ids_.emplace(token.content, token.id);
            added_contents_.emplace(token.id, &token);
            end_id_ = std::max(end_id_, token.id + 1);
        }
        for (const auto* side : {&post_processor_.before, &post_processor_.after})
            for (std::int32_t id : *side)
                require(id >= 0 && id < end_id_, Exit::bad_data,
                        "tokenizer.json: post_processor adds the id {}, beyond the vocabulary of {}", id, end_id_);
    }

    std::vector<Token> encode(std::string_view text, bool add_special_tokens) const override {
        require(text.size() < static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()), Exit::bad_data,
                "a text of {} bytes is too long for a tokenizer (2 GiB)", text.size());
        const std::size_t valid = first_invalid_utf8(text);
        require(valid == text.size(), Exit::bad_data, "the text is not UTF-8: byte {} is wrong", valid);
        std::vector<Token> tokens;
        tokens.reserve(text.size() / 3 + 4);
        const auto size = static_cast<std::int32_t>(text.size());
        if (add_special_tokens)
            for (std::int32_t id : post_processor_.before) tokens.push_back({id, 0, 0});
        std::unique_ptr<Workspace> work = borrow();
        encode_text(text, *work, tokens);
        give_back(std::move(work));
        if (add_special_tokens)
            for (std::int32_t id : post_processor_.after) tokens.push_back({id, size, size});
        return tokens;
    }

    std::string decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens) const override {
        std::string bytes;
        for (std::int32_t id : ids)
            if (!skip_special_tokens || !is_special(id)) bytes += bytes_of(id, bytes.empty());
        return unicode::lossy(bytes);
    }

    std::string bytes_of(std::int32_t id, bool first) const override {
        const std::string token = token_of(id);
        if (decoder_ == Decoder::byte_level)
            if (auto bytes = byte_level::bytes_of(token)) return *std::move(bytes);
        const bool space = decoder_ == Decoder::spaced && !first && !token.empty();
        return std::string(space ? 1 : 0, ' ').append(token);
    }

    std::int32_t vocab_size() const override { return end_id_; }

    std::int32_t id_of(std::string_view token) const override {
        const auto added = added_ids_.find(token);
        return added != added_ids_.end() ? added->second : model_.id_of(token);
    }

    std::string token_of(std::int32_t id) const override {
        if (const auto added = added_contents_.find(id); added != added_contents_.end()) return added->second->content;
        return id >= 0 && id < model_.end_id() ? model_.token_of(id) : "";
    }

    bool is_special(std::int32_t id) const override {
        const auto added = added_contents_.find(id);
        return added != added_contents_.end() && added->second->special;
    }

private:
    void encode_text(std::string_view text, Workspace& work, std::vector<Token>& tokens) const {
        work.arena.clear();
        work.raw_parts.clear();
        raw_finder_.split(text, work.raw_parts);
        const Piece whole{text, 0, nullptr};
        for (const AddedTokenFinder::Part& raw : work.raw_parts) {
            const Piece piece = whole.part(raw.begin, raw.end);
            if (raw.id >= 0) {
                add(piece, {raw.id, 0, static_cast<std::int32_t>(piece.text.size())}, tokens);
                continue;
            }
            work.parts.clear();
            normalized_finder_.split(piece.text, work.parts);
            for (const AddedTokenFinder::Part& found : work.parts) {
                const Piece inner = piece.part(found.begin, found.end);
                if (found.id >= 0)
                    add(inner, {found.id, 0, static_cast<std::int32_t>(inner.text.size())}, tokens);
                else
                    encode_piece(inner, work, tokens);
            }
        }
    }

    void encode_piece(const Piece& piece, Workspace& work, std::vector<Token>& tokens) const {
        work.words.assign(1, piece);
        for (const auto& stage : pre_tokenizers_.stages) {
            work.stage.clear();
            for (const Piece& each : work.words) stage->split(each, work.arena, work.stage);
            work.words.swap(work.stage);
        }
        for (const Piece& word : work.words) {
            work.word_parts.clear();
            if (!work.cache.find(word.text, work.word_parts)) {
                model_.encode(word.text, work.scratch, work.word_parts);
                work.cache.store(word.text, work.word_parts.data(), work.word_parts.size());
            }
            for (const Bpe::Part& each : work.word_parts) add(word, each, tokens);
        }
    }

    static void add(const Piece& word, const Bpe::Part& found, std::vector<Token>& tokens) {
        const Span source = word.source(static_cast<std::size_t>(found.begin), static_cast<std::size_t>(found.end));
        tokens.push_back({found.id, source.begin, source.end});
    }

    std::unique_ptr<Workspace> borrow() const {
        const std::lock_guard lock(mutex_);
        if (idle_.empty()) return std::make_unique<Workspace>();
        std::unique_ptr<Workspace> work = std::move(idle_.back());
        idle_.pop_back();
        return work;
    }

    void give_back(std::unique_ptr<Workspace> work) const {
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(work));
    }

    PreTokenizers pre_tokenizers_;
    Bpe model_;
    std::vector<AddedToken> added_;
    AddedTokenFinder raw_finder_;          // tokens with normalized: false
    AddedTokenFinder normalized_finder_;   // … true
    PostProcessor post_processor_;
    Decoder decoder_;
    std::int32_t end_id_;
    std::unordered_map<std::string_view, std::int32_t> added_ids_;
    std::unordered_map<std::int32_t, const AddedToken*> added_contents_;
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Workspace>> idle_;   // guarded by mutex_
};

}   // namespace

std::vector<std::int32_t> Tokenizer::ids(std::string_view text, bool add_special_tokens) const {
    std::vector<std::int32_t> result;
    for (const Token& token : encode(text, add_special_tokens)) result.push_back(token.id);
    return result;
}

std::unique_ptr<Tokenizer> make_tokenizer(const Node& tokenizer_json) {
    return std::make_unique<BpeTokenizer>(tokenizer_json);
}

}   // namespace trainer
