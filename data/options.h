#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "configs/fields.h"

namespace trainer {

// Which tokens of a row are trained on. Text rows always train on all of theirs.
enum class TrainOn { assistant, last, completion, all };
// What happens to rows longer than max_length.
enum class Overlong { truncate, drop, error };
// What happens when a row cannot be used as it is written.
enum class OnBadRow { stop, skip };
enum class PackingStrategy { none, best_fit };

template <>
struct EnumTable<TrainOn> {
    static constexpr std::pair<std::string_view, TrainOn> names[] = {
        {"assistant", TrainOn::assistant},
        {"last", TrainOn::last},
        {"completion", TrainOn::completion},
        {"all", TrainOn::all},
    };
};
template <>
struct EnumTable<Overlong> {
    static constexpr std::pair<std::string_view, Overlong> names[] = {
        {"truncate", Overlong::truncate},
        {"drop", Overlong::drop},
        {"error", Overlong::error},
    };
};
template <>
struct EnumTable<OnBadRow> {
    static constexpr std::pair<std::string_view, OnBadRow> names[] = {
        {"stop", OnBadRow::stop},
        {"skip", OnBadRow::skip},
    };
};

// How rows become tokens and labels.
struct EncodeOptions {
    TrainOn train_on = TrainOn::assistant;
    std::int64_t max_length = 1024;
    Overlong overlong = Overlong::truncate;
    OnBadRow on_bad_row = OnBadRow::stop;
    std::string system;   // system message for chats without one; "" for none
};

}   // namespace trainer
