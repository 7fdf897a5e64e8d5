#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace trainer {

// Blocks of memory out of few large slabs: the smallest free block that fits is taken, the rest of it stays
// free, and free neighbours become one again. Any thread may call. A block's address is a multiple of `alignment` when
// the slabs' are.
class Arena {
public:
    static constexpr std::size_t alignment = 256;
    static constexpr std::size_t counted(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

    // Where slabs come from; null when there is no room.
    struct Source {
        void* (*fresh)(std::size_t bytes);
        void (*free)(void* slab);
    };
    explicit Arena(Source source) : source_(source) {}
    ~Arena();   // gives all slabs back
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    void* take(std::size_t bytes);   // null when there is no room
    void give(void* block);

    // Has a slab of that size, or of what can be had, at least for what follows.
    void reserve(std::size_t bytes);
    // Gives slabs back in which nothing lies.
    void release();
    std::size_t held() const;   // bytes of all slabs

    // Every block is as large as asked for and goes back at once, so that what leaves its block is found. Before the
    // first one is taken.
    void keep_exact(bool exact);

private:
    struct Block {
        std::size_t bytes;
        bool free;
        bool first;   // of a slab
    };
    using Blocks = std::map<std::byte*, Block>;

    bool add_slab(std::size_t bytes);
    void* take_free(std::size_t bytes);
    void release_empty();
    void set_free(Blocks::iterator block, bool free);
    // `block` gets what lies behind it.
    void join_next(Blocks::iterator block);

    const Source source_;
    mutable std::mutex mutex_;
    Blocks blocks_;
    std::set<std::pair<std::size_t, std::byte*>> free_;
    std::size_t held_ = 0;
    bool exact_ = false;
};

}   // namespace trainer
