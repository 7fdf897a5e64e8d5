#include "data/jinja_filters.h"

#include <algorithm>

#include "configs/error.h"
#include "data/jinja_evaluator.h"

namespace trainer::jinja {

Bound::Bound(std::string_view owner, std::string_view signature, Arguments arguments) {
    std::size_t next = 0;
    std::size_t at = 0;
    bool open = false;
    while (at < signature.size()) {
        std::size_t end = std::min(signature.find(' ', at), signature.size());
        std::string_view name = signature.substr(at, end - at);
        at = end + 1;
        if (name == "*") {
            open = true;
            continue;
        }
        const bool optional = name.ends_with('?');
        if (optional) name.remove_suffix(1);
        const bool positional_only = name.starts_with('/');
        if (positional_only) name.remove_prefix(1);
        values_.emplace_back();
        auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                  [&](const auto& given) { return !positional_only && given.first == name; });
        if (next < arguments.positional.size()) {
            if (named != arguments.named.end()) throw Failure(format("{}() was given '{}' twice", owner, name));
            values_.back() = std::move(arguments.positional[next++]);
        } else if (named != arguments.named.end()) {
            values_.back() = std::move(named->second);
            arguments.named.erase(named);
        } else if (!optional) {
            throw Failure(format("{}() needs a value for '{}'", owner, name));
        }
    }
    arguments.positional.erase(arguments.positional.begin(),
                               arguments.positional.begin() + static_cast<std::ptrdiff_t>(next));
    if (!open && !arguments.positional.empty()) throw Failure(format("{}() takes at most {} values", owner, next));
    if (!open && !arguments.named.empty())
        throw Failure(format("{}() has no parameter '{}'", owner, arguments.named.front().first));
    rest_ = std::move(arguments);
}

std::int64_t Bound::integer(std::size_t i) const {
    if (!at(i).is_integral()) throw Failure(format("expected an integer, found {}", at(i).type_name()));
    return at(i).integral();
}

std::int64_t Bound::integer(std::size_t i, std::int64_t otherwise) const { return values_[i] ? integer(i) : otherwise; }

const Value& Bound::string(std::size_t i) const {
    if (!at(i).is_string()) throw Failure(format("expected a string, found {}", at(i).type_name()));
    return at(i);
}

const Value* Bound::optional_string(std::size_t i) const {
    return values_[i] && !values_[i]->is_none() ? &string(i) : nullptr;
}

namespace {

const Filter* find_filter(std::string_view name) {
    for (const auto* table : {&string_filters(), &sequence_filters()})
        for (const Filter& filter : *table)
            if (filter.name == name) return &filter;
    return nullptr;
}

}   // namespace

bool filter_exists(std::string_view name) { return find_filter(name) != nullptr; }

std::string unknown_filter(std::string_view name) {
    std::vector<std::string> names;
    for (const auto* table : {&string_filters(), &sequence_filters()})
        for (const Filter& filter : *table) names.emplace_back(filter.name);
    std::sort(names.begin(), names.end());
    return unknown_name("filter", name, names);
}

std::string unknown_name(std::string_view kind, std::string_view name, const std::vector<std::string>& names) {
    const std::string hint = nearest(name, names);
    return format("there is no {} '{}'{}; supported are {}", kind, name,
                  hint.empty() ? "" : ", did you mean '" + hint + "'", trainer::join(names));
}

Value apply_filter(Evaluator& evaluator, std::string_view name, const Value& input, Arguments arguments) {
    const Filter* filter = find_filter(name);
    if (!filter) throw Failure(unknown_filter(name));
    Bound bound(name, filter->signature, std::move(arguments));
    return filter->apply(evaluator, input, bound);
}

}   // namespace trainer::jinja
