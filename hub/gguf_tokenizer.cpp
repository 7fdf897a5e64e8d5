#include "hub/gguf_tokenizer.h"

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "configs/error.h"

namespace trainer {

namespace {

// Values of tokenizer.ggml.token_type.
enum TokenType : std::int64_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

Node object(std::initializer_list<std::pair<const char*, Node>> entries) {
    Node::Map map;
    for (const auto& [key, value] : entries) map.push_back({key, value, {}});
    return Node(std::move(map));
}

Node byte_level(bool use_regex) {
    return object(
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}});
}

Node split(const char* regex) {
    return object(
        {{"type", "Split"}, {"pattern", object({{"Regex", regex}})}, {"behavior", "Isolated"}, {"invert", false}});
}

Node pre_tokenizer_sequence(Node::List parts) {
    return object({{"type", "Sequence"}, {"pretokenizers", Node(std::move(parts))}});
}

// A value of tokenizer.ggml.pre: what tokenizer.json of such models has.
struct Family {
    std::string_view name;
    Node pre_tokenizer;
    Node normalizer;
    bool ignore_merges = false;
    bool add_bos = false;   // when the file does not say
};

Family make_family(const std::string& file, const std::string& name) {
    if (name == "smollm") {
        const Node digits = object({{"type", "Digits"}, {"individual_digits", true}});
        return {name, pre_tokenizer_sequence({digits, byte_level(true)}), {}};
    }
    if (name == "gpt-2") return {name, byte_level(true), {}};
    if (name == "llama-bpe") {
        const Node words = split(
            R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
        return {name, pre_tokenizer_sequence({words, byte_level(false)}), {}, true, true};
    }
    if (name == "qwen2") {
        const Node words = split(
            R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
        return {name, pre_tokenizer_sequence({words, byte_level(false)}), object({{"type", "NFC"}})};
    }
    require(name == "default", Exit::bad_data,
            "{}: tokenizer.ggml.pre \"{}\" is not supported (supported: smollm, gpt-2, llama-bpe, qwen2, default)",
            file, name);
    return {name,
            pre_tokenizer_sequence({split(R"([\p{P}\$\+<=>\^~\|]+)"),
                                    split(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))"),
                                    split(R"(\p{N}+)"), split(R"([0-9][0-9][0-9])"), byte_level(false)}),
            {}};
}

// The tokenizer keys of a file, checked.
class Keys {
public:
    explicit Keys(const GgufFile& file) : metadata_(file.metadata()), file_(file.path().string()) {
        const std::string model = text("model");
        require(model == "gpt2", Exit::bad_data,
                "{}: tokenizer.ggml.model \"{}\" is not supported (supported: gpt2, byte-level BPE)", file_, model);
    }

    const std::string& file() const { return file_; }
    const Node* find(const std::string& key) const { return metadata_.find("tokenizer.ggml." + key); }
    const Node& at(const std::string& key) const {
        const Node* node = find(key);
        require(node != nullptr, Exit::bad_data, "{}: metadata key tokenizer.ggml.{} is missing", file_, key);
        return *node;
    }
    std::string text(const std::string& key) const {
        const Node& node = at(key);
        require(node.is_string(), Exit::bad_data, "{}: tokenizer.ggml.{}: expected a string, found {}", file_, key,
                node.describe());
        return node.as_string();
    }
    bool flag(const std::string& key, bool otherwise) const {
        const Node* node = find(key);
        if (!node) return otherwise;
        require(node->is_bool(), Exit::bad_data, "{}: tokenizer.ggml.{}: expected true or false, found {}", file_, key,
                node->describe());
        return node->as_bool();
    }
    // A list whose elements have one kind (GGUF arrays are uniform, so the first element tells).
    const Node::List& list(const std::string& key, Node::Kind kind) const {
        const Node& node = at(key);
        require(node.is_list() && (node.size() == 0 || node.as_list().front().kind() == kind), Exit::bad_data,
                "{}: tokenizer.ggml.{}: expected an array whose elements are {}", file_, key, Node::kind_name(kind));
        return node.as_list();
    }
    const Node::List& tokens() const { return list("tokens", Node::Kind::string); }
    // The text of the token a key names; null when the key is absent.
    const std::string* token(const std::string& key) const {
        const Node* node = find(key);
        if (!node) return nullptr;
        const auto& all = tokens();
        require(
            node->is_integer() && node->as_integer() >= 0 && node->as_integer() < static_cast<std::int64_t>(all.size()),
            Exit::bad_data, "{}: tokenizer.ggml.{}: expected an id below {}, found {}", file_, key, all.size(),
            node->describe());
        return &all[static_cast<std::size_t>(node->as_integer())].as_string();
    }

private:
    const Node& metadata_;
    std::string file_;
};

using Vocabulary = std::unordered_map<std::string_view, std::int64_t>;

Node merge_list(const Keys& keys, const Vocabulary& ids) {
    Node::List merges;
    for (const Node& node : keys.list("merges", Node::Kind::string)) {
        const std::string& merge = node.as_string();
        const std::size_t space = merge.find(' ', 1);
        require(space != std::string::npos && space + 1 < merge.size(), Exit::bad_data,
                "{}: tokenizer.ggml.merges: \"{}\" is not a pair", keys.file(), merge);
        const std::string left = merge.substr(0, space);
        const std::string right = merge.substr(space + 1);
        require(ids.contains(left) && ids.contains(right) && ids.contains(left + right), Exit::bad_data,
                "{}: tokenizer.ggml.merges: \"{}\" names a token that is not in the vocabulary", keys.file(), merge);
        merges.push_back(Node(Node::List{Node(left), Node(right)}));
    }
    return Node(std::move(merges));
}

// [bos] A [eos]
Node template_processing(const std::string* bos, const std::string* eos, const Vocabulary& ids) {
    const Node sequence = object({{"Sequence", object({{"id", "A"}, {"type_id", 0}})}});
    const Node second = object({{"Sequence", object({{"id", "B"}, {"type_id", 0}})}});
    Node::List single, pair;
    Node special = Node::map();
    const auto add = [&](const std::string& token, Node::List& list) {
        list.push_back(object({{"SpecialToken", object({{"id", token}, {"type_id", 0}})}}));
        special.set(token, object({{"id", token}, {"ids", Node::List{ids.at(token)}}, {"tokens", Node::List{token}}}));
    };
    if (bos) add(*bos, single);
    single.push_back(sequence);
    if (eos) add(*eos, single);
    pair = single;
    if (bos) add(*bos, pair);
    pair.push_back(second);
    if (eos) add(*eos, pair);
    return object({{"type", "TemplateProcessing"},
                   {"single", Node(std::move(single))},
                   {"pair", Node(std::move(pair))},
                   {"special_tokens", std::move(special)}});
}

}   // namespace

Node gguf_tokenizer(const GgufFile& gguf) {
    const Keys keys(gguf);
    const Family family = make_family(keys.file(), keys.text("pre"));
    const auto& tokens = keys.tokens();
    const auto& token_types = keys.list("token_type", Node::Kind::integer);
    require(tokens.size() == token_types.size(), Exit::bad_data, "{}: {} tokens, but {} token types", keys.file(),
            tokens.size(), token_types.size());

    Vocabulary ids;
    Node::Map vocabulary;
    Node::List added;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        const std::int64_t type = token_types[i].as_integer();
        require(type >= normal && type <= byte, Exit::bad_data, "{}: token {} has the unknown type {}", keys.file(), i,
                type);
        if (type == unused) continue;
        const std::string& token = tokens[i].as_string();
        const auto id = static_cast<std::int64_t>(i);
        require(!token.empty(), Exit::bad_data, "{}: token {} is empty", keys.file(), i);
        require(ids.emplace(token, id).second, Exit::bad_data, "{}: token \"{}\" is there twice", keys.file(), token);
        vocabulary.push_back({token, Node(id), {}});
        if (type == normal || type == byte) continue;
        added.push_back(object({{"id", id},
                                {"content", token},
                                {"single_word", false},
                                {"lstrip", false},
                                {"rstrip", false},
                                {"normalized", false},
                                {"special", type != user_defined}}));
    }

    const std::string* bos = keys.flag("add_bos_token", family.add_bos) ? keys.token("bos_token_id") : nullptr;
    const std::string* eos = keys.flag("add_eos_token", false) ? keys.token("eos_token_id") : nullptr;
    return object({{"version", "1.0"},
                   {"truncation", nullptr},
                   {"padding", nullptr},
                   {"added_tokens", Node(std::move(added))},
                   {"normalizer", family.normalizer},
                   {"pre_tokenizer", family.pre_tokenizer},
                   {"post_processor", bos || eos ? template_processing(bos, eos, ids) : Node()},
                   {"decoder", byte_level(true)},
                   {"model", object({{"type", "BPE"},
                                     {"dropout", nullptr},
                                     {"unk_token", nullptr},
                                     {"continuing_subword_prefix", nullptr},
                                     {"end_of_word_suffix", nullptr},
                                     {"fuse_unk", false},
                                     {"byte_fallback", false},
                                     {"ignore_merges", family.ignore_merges},
                                     {"vocab", Node(std::move(vocabulary))},
                                     {"merges", merge_list(keys, ids)}})}});
}

Node gguf_tokenizer_config(const GgufFile& gguf) {
    const Keys keys(gguf);
    const Family family = make_family(keys.file(), keys.text("pre"));
    Node config;
    constexpr std::array<std::pair<const char*, const char*>, 6> special = {{{"bos_token", "bos_token_id"},
                                                                             {"eos_token", "eos_token_id"},
                                                                             {"unk_token", "unknown_token_id"},
                                                                             {"pad_token", "padding_token_id"},
                                                                             {"sep_token", "seperator_token_id"},
                                                                             {"mask_token", "mask_token_id"}}};
    for (const auto& [name, key] : special)
        if (const std::string* token = keys.token(key)) config.set(name, *token);
    // A flag that is false is left out: transformers 5 rebuilds the post-processor as soon as one is there.
    if (keys.flag("add_bos_token", family.add_bos)) config.set("add_bos_token", true);
    if (keys.flag("add_eos_token", false)) config.set("add_eos_token", true);
    config.set("clean_up_tokenization_spaces", false);
    if (const Node* length = gguf.metadata().find("llama.context_length")) config.set("model_max_length", *length);
    config.set("tokenizer_class", "PreTrainedTokenizerFast");
    if (const Node* text = gguf.metadata().find("tokenizer.chat_template")) {
        require(text->is_string(), Exit::bad_data, "{}: tokenizer.chat_template: expected a string, found {}",
                keys.file(), text->describe());
        config.set("chat_template", *text);
    }
    return config;
}

}   // namespace trainer
