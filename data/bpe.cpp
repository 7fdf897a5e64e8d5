#include "data/bpe.h"

#include <algorithm>

#include "configs/error.h"
#include "data/byte_level.h"
#include "data/unicode.h"

namespace trainer {

namespace {

constexpr std::uint64_t no_key = ~std::uint64_t{0};
constexpr std::int64_t largest_hole = 1 << 20;   // ids beyond the number of entries: more is a broken file

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

std::string byte_token(unsigned char byte) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    return {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
}

bool is_true(const Node& model, std::string_view key) {
    const Node* value = model.find(key);
    return value != nullptr && !value->is_null() && value->as_bool();
}

void refuse_text(const Node& model, std::string_view key) {
    const Node* value = model.find(key);
    require(value == nullptr || value->is_null() || value->as_string().empty(), Exit::bad_data,
            "tokenizer.json: model.{} is not supported", key);
}

// The earlier rank, then the place further left, comes out of the heap first.
bool later(const Bpe::Scratch::Candidate& a, const Bpe::Scratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
}

}   // namespace

MergeTable::MergeTable(std::size_t count) {
    std::size_t capacity = 16;
    while (capacity < 2 * count) capacity *= 2;
    slots_.assign(capacity, {no_key, {-1, -1}});
}

std::size_t MergeTable::place(std::uint64_t key) const {
    std::uint64_t hash = key * 0x9E3779B97F4A7C15u;
    std::size_t at = (hash ^ hash >> 32) & (slots_.size() - 1);
    while (slots_[at].key != key && slots_[at].key != no_key) at = (at + 1) & (slots_.size() - 1);
    return at;
}

void MergeTable::insert(std::int32_t left, std::int32_t right, Merge merge) {
    const std::uint64_t key = pair_key(left, right);
    slots_[place(key)] = {key, merge};
}

MergeTable::Merge MergeTable::find(std::int32_t left, std::int32_t right) const {
    return slots_[place(pair_key(left, right))].merge;
}

Bpe::Bpe(const Node& model, bool byte_level) : byte_level_(byte_level), merges_(0) {
    const Node* type = model.find("type");
    require(type == nullptr || type->as_string() == "BPE", Exit::bad_data,
            "tokenizer.json: model {} is not supported (BPE is)", type == nullptr ? "" : type->as_string());
    refuse_text(model, "continuing_subword_prefix");
    refuse_text(model, "end_of_word_suffix");
    const Node* dropout = model.find("dropout");
    require(dropout == nullptr || dropout->is_null() || dropout->as_number() == 0, Exit::bad_data,
            "tokenizer.json: model.dropout is not supported");
    ignore_merges_ = is_true(model, "ignore_merges");
    byte_fallback_ = is_true(model, "byte_fallback");
    fuse_unknown_ = is_true(model, "fuse_unk");
    read_vocabulary(model);
    merges_ = read_merges(model);
    if (const Node* unknown = model.find("unk_token"); unknown != nullptr && !unknown->is_null()) {
        unknown_ = id_of(unknown->as_string());
        require(unknown_ >= 0, Exit::bad_data, "tokenizer.json: model.unk_token \"{}\" is not in model.vocab",
                unknown->as_string());
    }
    for (int byte = 0; byte < 256; ++byte)
        byte_ids_[static_cast<std::size_t>(byte)] = id_of(byte_level::letter(static_cast<unsigned char>(byte)));
}

void Bpe::read_vocabulary(const Node& model) {
    const Node::Map& vocabulary = model.at("vocab").as_map();
    const auto count = static_cast<std::int64_t>(vocabulary.size());
    std::vector<bool> taken;
    size_ = static_cast<std::int32_t>(count);
    tokens_.resize(vocabulary.size());
    for (const auto& [token, value, mark] : vocabulary) {
        const std::int64_t id = value.as_integer();
        require(id >= 0 && id < count + largest_hole, Exit::bad_data,
                "tokenizer.json: model.vocab: \"{}\" has the id {} in a vocabulary of {} entries", token, id, count);
        const auto index = static_cast<std::size_t>(id);
        if (index >= tokens_.size()) tokens_.resize(index + 1);
        if (index >= taken.size()) taken.resize(tokens_.size());
        require(!taken[index], Exit::bad_data, "tokenizer.json: model.vocab: \"{}\" and \"{}\" have the same id {}",
                tokens_[index], token, id);
        taken[index] = true;
        tokens_[index] = token;
    }
    ids_.reserve(vocabulary.size());
    for (std::size_t id = 0; id < taken.size(); ++id)
        if (taken[id]) ids_.emplace(tokens_[id], static_cast<std::int32_t>(id));
}

MergeTable Bpe::read_merges(const Node& model) const {
    const Node::List& merges = model.at("merges").as_list();
    MergeTable table(merges.size());
    std::int32_t rank = 0;
    std::string joined;
    for (const Node& merge : merges) {
        std::string_view left, right;
        if (merge.is_string()) {
            const std::string_view text = merge.as_string();
            if (text.substr(0, 8) == "#version") continue;
            const std::size_t space = text.find(' ');
            require(space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos,
                    Exit::bad_data, "tokenizer.json: model.merges[{}]: \"{}\" is not two tokens with a space between",
                    rank, text);
            left = text.substr(0, space);
            right = text.substr(space + 1);
        } else {
            require(merge.size() == 2, Exit::bad_data, "tokenizer.json: model.merges[{}] is {}, expected two tokens",
                    rank, merge.describe());
            left = merge.as_list()[0].as_string();
            right = merge.as_list()[1].as_string();
        }
        joined.assign(left).append(right);
        const std::int32_t left_id = id_of(left), right_id = id_of(right), id = id_of(joined);
        require(left_id >= 0 && right_id >= 0 && id >= 0, Exit::bad_data,
                "tokenizer.json: model.merges[{}]: \"{}\" is not in model.vocab", rank,
                left_id < 0    ? left
                : right_id < 0 ? right
                               : std::string_view(joined));
        table.insert(left_id, right_id, {rank++, id});
    }
    return table;
}

std::int32_t Bpe::id_of(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
}

// One letter that stands for bytes [begin, end) of the word.
void Bpe::add_letter(std::string_view letter, std::int32_t begin, std::int32_t end, Scratch& scratch) const {
    auto& symbols = scratch.symbols;
    const auto add = [&](std::int32_t id, std::int32_t from, std::int32_t to) {
        symbols.push_back({{id, from, to}, 0, 0});
    };
    if (const std::int32_t id = id_of(letter); id >= 0) return add(id, begin, end);
    if (byte_fallback_) {
        std::vector<std::int32_t> bytes;
        for (char byte : letter) bytes.push_back(id_of(byte_token(static_cast<unsigned char>(byte))));
        if (std::find(bytes.begin(), bytes.end(), -1) == bytes.end()) {
            const auto count = static_cast<std::int32_t>(bytes.size());
            for (std::int32_t i = 0; i < count; ++i) {
                const bool own_byte = count == end - begin;
                add(bytes[static_cast<std::size_t>(i)], own_byte ? begin + i : begin, own_byte ? begin + i + 1 : end);
            }
            return;
        }
    }
    if (unknown_ < 0) return;
    const bool after_unknown = !symbols.empty() && symbols.back().part.id == unknown_ && symbols.back().next == 1;
    if (fuse_unknown_ && after_unknown) {
        symbols.back().part.end = end;
    } else {
        add(unknown_, begin, end);
        symbols.back().next = 1;   // marks a symbol that is unknown, not the unknown token spelled out
    }
}

void Bpe::add_symbols(std::string_view word, Scratch& scratch) const {
    scratch.symbols.clear();
    for (std::size_t at = 0; at < word.size();) {
        const auto begin = static_cast<std::int32_t>(at);
        if (byte_level_) {
            const auto byte = static_cast<unsigned char>(word[at++]);
            if (const std::int32_t id = byte_ids_[byte]; id >= 0)
                scratch.symbols.push_back({{id, begin, begin + 1}, 0, 0});
            else
                add_letter(byte_level::letter(byte), begin, begin + 1, scratch);
        } else {
            const auto length = static_cast<std::size_t>(unicode::decode(word.substr(at)).length);
            add_letter(word.substr(at, length), begin, begin + static_cast<std::int32_t>(length), scratch);
            at += length;
        }
    }
    const auto count = static_cast<std::int32_t>(scratch.symbols.size());
    for (std::int32_t i = 0; i < count; ++i) {
        scratch.symbols[static_cast<std::size_t>(i)].previous = i - 1;
        scratch.symbols[static_cast<std::size_t>(i)].next = i + 1 < count ? i + 1 : -1;
    }
}

// Takes the pair of lowest rank, leftmost first. Candidates whose pair has changed meanwhile are skipped when they
// come out of the heap; a symbol merged into its left neighbour has id -1.
void Bpe::merge(Scratch& scratch) const {
    auto& [symbols, heap] = scratch;
    const auto symbol = [&](std::int32_t at) -> Scratch::Symbol& { return symbols[static_cast<std::size_t>(at)]; };
    const auto candidate = [&](std::int32_t at) -> Scratch::Candidate {
        const MergeTable::Merge found = merges_.find(symbol(at).part.id, symbol(symbol(at).next).part.id);
        return {found.rank, at, found.id};
    };
    heap.clear();
    for (std::int32_t at = 0; at + 1 < static_cast<std::int32_t>(symbols.size()); ++at)
        if (const auto next = candidate(at); next.rank >= 0) heap.push_back(next);
    std::make_heap(heap.begin(), heap.end(), later);
    const auto push = [&](std::int32_t at) {
        const auto next = candidate(at);
        if (next.rank < 0) return;
        heap.push_back(next);
        std::push_heap(heap.begin(), heap.end(), later);
    };
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end(), later);
        const Scratch::Candidate best = heap.back();
        heap.pop_back();
        Scratch::Symbol& left = symbol(best.at);
        if (left.part.id < 0 || left.next < 0) continue;
        Scratch::Symbol& right = symbol(left.next);
        if (merges_.find(left.part.id, right.part.id).id != best.id) continue;
        left.part.id = best.id;
        left.part.end = right.part.end;
        left.next = right.next;
        right.part.id = -1;
        if (left.next >= 0) symbol(left.next).previous = best.at;
        if (left.previous >= 0) push(left.previous);
        if (left.next >= 0) push(best.at);
    }
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<Part>& out) const {
    if (ignore_merges_) {
        std::string letters;
        if (byte_level_)
            for (char byte : word) letters += byte_level::letter(static_cast<unsigned char>(byte));
        if (const std::int32_t id = id_of(byte_level_ ? std::string_view(letters) : word); id >= 0) {
            out.push_back({id, 0, static_cast<std::int32_t>(word.size())});
            return;
        }
    }
    add_symbols(word, scratch);
    merge(scratch);
    for (const Scratch::Symbol& symbol : scratch.symbols)
        if (symbol.part.id >= 0) out.push_back(symbol.part);
}

}   // namespace trainer
