#include "data/word_cache.h"

#include <algorithm>
#include <functional>

namespace trainer {

std::size_t WordCache::place(std::string_view word) { return std::hash<std::string_view>{}(word) & (slot_count - 1); }

bool WordCache::find(std::string_view word, std::vector<Bpe::Part>& out) const {
    if (word.size() > longest) return false;
    const Slot& slot = slots_[place(word)];
    if (slot.length != word.size() || std::string_view(slot.word, slot.length) != word) return false;
    std::int32_t begin = 0;
    for (std::size_t i = 0; i < slot.count; ++i) {
        out.push_back({slot.ids[i], begin, slot.ends[i]});
        begin = slot.ends[i];
    }
    return true;
}

void WordCache::store(std::string_view word, const Bpe::Part* parts, std::size_t count) {
    if (word.empty() || word.size() > longest || count > most_parts) return;
    std::int32_t begin = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (parts[i].begin != begin) return;
        begin = parts[i].end;
    }
    Slot& slot = slots_[place(word)];
    slot.length = static_cast<std::uint8_t>(word.size());
    slot.count = static_cast<std::uint8_t>(count);
    std::copy(word.begin(), word.end(), slot.word);
    for (std::size_t i = 0; i < count; ++i) {
        slot.ids[i] = parts[i].id;
        slot.ends[i] = static_cast<std::uint8_t>(parts[i].end);
    }
}

}   // namespace trainer
