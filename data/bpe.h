#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "configs/node.h"

namespace trainer {

// Pairs of ids that merge: open addressing, linear probing.
class MergeTable {
public:
    struct Merge {
        std::int32_t rank;   // -1: none
        std::int32_t id;     // of the merged token
    };
    explicit MergeTable(std::size_t count);
    void insert(std::int32_t left, std::int32_t right, Merge merge);   // the last insertion of a pair wins
    Merge find(std::int32_t left, std::int32_t right) const;

private:
    struct Slot {
        std::uint64_t key;
        Merge merge;
    };
    std::size_t place(std::uint64_t key) const;
    std::vector<Slot> slots_;
};

// The BPE model of tokenizer.json: null or absent dropout, no subword prefix or suffix; merges as pairs or strings.
// Immutable; usable from several threads, each with its own Scratch.
class Bpe {
public:
    // `byte_level`: words are bytes whose letters (data/byte_level.h) the vocabulary holds; else they are code points.
    Bpe(const Node& model, bool byte_level);

    // A token and the bytes [begin, end) of the word it stands for.
    struct Part {
        std::int32_t id;
        std::int32_t begin;
        std::int32_t end;
    };
    struct Scratch {
        struct Symbol {
            Part part;
            std::int32_t previous;
            std::int32_t next;
        };
        struct Candidate {
            std::int32_t rank;
            std::int32_t at;   // left symbol
            std::int32_t id;   // of the merged token
        };
        std::vector<Symbol> symbols;
        std::vector<Candidate> heap;
    };
    // Appends the tokens of a word, in O(n log n) of its length. Letters neither in the vocabulary nor covered by
    // byte_fallback or unk_token are dropped.
    void encode(std::string_view word, Scratch& scratch, std::vector<Part>& out) const;

    std::int32_t size() const { return size_; }                                         // entries of the vocabulary
    std::int32_t end_id() const { return static_cast<std::int32_t>(tokens_.size()); }   // highest id + 1
    std::int32_t id_of(std::string_view token) const;                                   // -1 when unknown
    const std::string& token_of(std::int32_t id) const { return tokens_[static_cast<std::size_t>(id)]; }

private:
    void read_vocabulary(const Node& model);
    MergeTable read_merges(const Node& model) const;
    void add_letter(std::string_view letter, std::int32_t begin, std::int32_t end, Scratch& scratch) const;
    void add_symbols(std::string_view word, Scratch& scratch) const;
    void merge(Scratch& scratch) const;

    bool byte_level_;
    bool ignore_merges_ = false;
    bool byte_fallback_ = false;
    bool fuse_unknown_ = false;
    std::int32_t unknown_ = -1;
    std::int32_t size_ = 0;
    std::vector<std::string> tokens_;   // by id; "" where the vocabulary has a hole
    std::unordered_map<std::string_view, std::int32_t> ids_;
    std::array<std::int32_t, 256> byte_ids_;   // of the letter of a byte (byte level); -1: not in the vocabulary
    MergeTable merges_;
};

}   // namespace trainer
