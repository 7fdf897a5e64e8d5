#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "configs/error.h"

namespace trainer {

// A table of named things: one visible line per thing, in the registry.cpp of its room.
//
//     const Registry<MakeRule>& rules() {
//         static const Registry<MakeRule> table("optimizer", {
//             {"adamw", "Adam with decoupled weight decay", make_adamw},
//         });
//         return table;
//     }
template <typename Value>
class Registry {
public:
    struct Entry {
        std::string_view name;
        std::string_view help;
        Value value;
    };

    // `what` names one thing in messages: "optimizer", "data format".
    Registry(std::string_view what, std::initializer_list<Entry> entries) : what_(what), entries_(entries) {
        for (std::size_t i = 0; i < entries_.size(); ++i)
            for (std::size_t j = 0; j < i; ++j)
                check(entries_[i].name != entries_[j].name, "two entries of the {} table are named {}", what_,
                      entries_[i].name);
    }

    const Value* find(std::string_view name) const {
        for (const Entry& entry : entries_)
            if (entry.name == name) return &entry.value;
        return nullptr;
    }

    // Error(code) with the nearest name and all names when there is none of this name. `where` goes in front of the
    // message ("recipe.yaml:3:9: ").
    const Value& at(std::string_view name, Exit code = Exit::bad_recipe, std::string_view where = "") const {
        if (const Value* value = find(name)) return *value;
        const std::vector<std::string> all = names();
        fail(code, "{}there is no {} \"{}\"; {}available: {}", where, what_, name, did_you_mean(name, all), join(all));
    }

    std::vector<std::string> names() const {
        std::vector<std::string> all;
        for (const Entry& entry : entries_) all.emplace_back(entry.name);
        return all;
    }

    const std::vector<Entry>& entries() const { return entries_; }

private:
    std::string_view what_;
    std::vector<Entry> entries_;
};

}   // namespace trainer
