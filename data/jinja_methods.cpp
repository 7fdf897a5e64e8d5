// The methods and attributes of Python's str, dict, list and tuple.
#include <algorithm>

#include "configs/error.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_filters.h"
#include "data/jinja_unicode.h"

namespace trainer::jinja {

namespace {

struct Method {
    std::string_view name;
    std::string_view signature;
    Value (*call)(Evaluator& evaluator, const Value& self, Bound& arguments);
};

Value list_of(Evaluator& evaluator, std::vector<Value> items) { return make_list(evaluator.budget, std::move(items)); }

Value tuple_of(Evaluator& evaluator, std::vector<Value> items) {
    return make_list(evaluator.budget, std::move(items), Sequence::Kind::tuple);
}

const std::string* separator_of(const Bound& arguments) {
    const Value* separator = arguments.optional_string(0);
    if (separator && separator->bytes().empty()) throw Failure("the separator to split at is empty");
    return separator ? &separator->bytes() : nullptr;
}

// The bytes of self between the optional code point bounds in arguments 1 and 2.
std::pair<std::size_t, std::size_t> span(const Value& self, const Bound& arguments) {
    const auto length = static_cast<std::int64_t>(self.text().length);
    auto bound = [&](std::size_t i, std::int64_t otherwise) {
        const Value* given = arguments.optional(i);
        std::int64_t at = given && !given->is_none() ? arguments.integer(i) : otherwise;
        return std::max<std::int64_t>(at < 0 ? at + length : at, 0);
    };
    const std::int64_t first = bound(1, 0);
    const std::int64_t last = std::min(bound(2, length), length);
    if (first > last) return {1, 0};
    return {offset_of(self.text(), static_cast<std::size_t>(first)),
            offset_of(self.text(), static_cast<std::size_t>(last))};
}

// Whether self starts (or ends) with the string, or one of the tuple of strings, in argument 0.
Value affix(const Value& self, const Bound& arguments, bool start) {
    const auto [begin, end] = span(self, arguments);
    if (begin > end) return Value(false);
    const std::string_view text = std::string_view(self.bytes()).substr(begin, end - begin);
    auto matches = [&](const Value& value) {
        if (!value.is_string())
            throw Failure(format("startswith() and endswith() need strings, found {}", value.type_name()));
        return start ? text.starts_with(value.bytes()) : text.ends_with(value.bytes());
    };
    const Value& wanted = arguments.at(0);
    if (wanted.is_sequence() && wanted.sequence().kind == Sequence::Kind::tuple)
        return Value(std::any_of(wanted.sequence().items.begin(), wanted.sequence().items.end(), matches));
    return Value(matches(wanted));
}

// The code point index of argument 0 in self, or -1.
std::int64_t find(Evaluator& evaluator, const Value& self, const Bound& arguments, bool last) {
    evaluator.budget.copy(self.bytes().size());
    const auto [begin, end] = span(self, arguments);
    const std::string& wanted = arguments.string(0).bytes();
    if (begin > end) return -1;
    const std::string_view text = std::string_view(self.bytes()).substr(begin, end - begin);
    const std::size_t found = last ? text.rfind(wanted) : text.find(wanted);
    if (found == std::string_view::npos) return -1;
    return static_cast<std::int64_t>(code_points(std::string_view(self.bytes()).substr(0, begin + found)));
}

Value index(Evaluator& evaluator, const Value& self, const Bound& arguments, bool last) {
    const std::int64_t found = find(evaluator, self, arguments, last);
    if (found < 0) throw Failure("the string looked for is not there");
    return Value(found);
}

Value count(Evaluator& evaluator, const Value& self, const Bound& arguments) {
    evaluator.budget.copy(self.bytes().size());
    const auto [begin, end] = span(self, arguments);
    const std::string& wanted = arguments.string(0).bytes();
    if (begin > end) return Value(std::int64_t{0});
    const std::string_view text = std::string_view(self.bytes()).substr(begin, end - begin);
    if (wanted.empty()) return Value(static_cast<std::int64_t>(code_points(text)) + 1);
    std::int64_t found = 0;
    for (std::size_t at = 0; (at = text.find(wanted, at)) != std::string_view::npos; at += wanted.size()) ++found;
    return Value(found);
}

Value partition(Evaluator& evaluator, const Value& self, const Bound& arguments, bool last) {
    const Value& separator = arguments.string(0);
    if (separator.bytes().empty()) throw Failure("the separator to split at is empty");
    Budget& budget = evaluator.budget;
    const std::string& bytes = self.bytes();
    const std::size_t found = last ? bytes.rfind(separator.bytes()) : bytes.find(separator.bytes());
    const Value nothing = part(budget, self, 0, 0);
    if (found == std::string::npos)
        return last ? tuple_of(evaluator, {nothing, nothing, self}) : tuple_of(evaluator, {self, nothing, nothing});
    const std::size_t after = found + separator.bytes().size();
    return tuple_of(evaluator, {part(budget, self, 0, found), part(budget, self, found, after),
                                part(budget, self, after, bytes.size())});
}

template <bool (*property)(char32_t)>
Value all_characters(Evaluator& evaluator, const Value& self, Bound&) {
    const std::string& bytes = self.bytes();
    evaluator.budget.copy(bytes.size());
    for (std::size_t at = 0; at < bytes.size(); at += character_size(bytes, at))
        if (!property(character_at(bytes, at))) return Value(false);
    return Value(!bytes.empty());
}

bool alphanumeric(char32_t c) { return is_alphabetic(c) || is_digit(c); }
bool ascii(char32_t c) { return c < 0x80; }

template <Case to>
Value cased(Evaluator& evaluator, const Value& self, Bound&) {
    return change_case(evaluator.budget, self, to);
}

template <bool left, bool right>
Value stripped(Evaluator& evaluator, const Value& self, Bound& arguments) {
    return strip(evaluator.budget, self, arguments.optional_string(0), left, right);
}

template <int side>
Value justified(Evaluator& evaluator, const Value& self, Bound& arguments) {
    std::string fill = " ";
    if (arguments.optional(1)) fill = arguments.string(1).bytes();
    if (code_points(fill) != 1) throw Failure("the fill of a string is one character");
    return justify(evaluator.budget, self, arguments.integer(0), fill, side);
}

Value zero_filled(Evaluator& evaluator, const Value& self, Bound& arguments) {
    const std::int64_t missing = arguments.integer(0) - static_cast<std::int64_t>(self.text().length);
    const bool sign = self.bytes().starts_with('-') || self.bytes().starts_with('+');
    Builder out(evaluator.budget);
    out.add(self.text(), 0, sign);
    out.add_repeated("0", missing);
    out.add(self.text(), sign, self.bytes().size());
    return out.finish();
}

Value joined(Evaluator& evaluator, const Value& self, Bound& arguments) {
    std::vector<Value> parts = collect(arguments.at(0), evaluator.budget);
    for (const Value& item : parts)
        if (!item.is_string()) throw Failure(format("join() needs strings, found {}", item.type_name()));
    return join(evaluator.budget, self.text(), parts);
}

const Method string_methods[] = {
    {"strip", "/chars?", stripped<true, true>},
    {"lstrip", "/chars?", stripped<true, false>},
    {"rstrip", "/chars?", stripped<false, true>},
    {"upper", "", cased<Case::upper>},
    {"lower", "", cased<Case::lower>},
    {"title", "", cased<Case::title>},
    {"capitalize", "", cased<Case::capitalize>},
    {"swapcase", "", cased<Case::swap>},
    {"startswith", "/prefix /start? /end?", [](auto&, auto& self, auto& a) { return affix(self, a, true); }},
    {"endswith", "/suffix /start? /end?", [](auto&, auto& self, auto& a) { return affix(self, a, false); }},
    {"split", "sep? maxsplit?",
     [](auto& e, auto& self, auto& a) { return list_of(e, split(e.budget, self, separator_of(a), a.integer(1, -1))); }},
    {"rsplit", "sep? maxsplit?",
     [](auto& e, auto& self, auto& a) {
         return list_of(e, split_right(e.budget, self, separator_of(a), a.integer(1, -1)));
     }},
    {"splitlines", "keepends?",
     [](auto& e, auto& self, auto& a) { return list_of(e, split_lines(e.budget, self, a.flag(0))); }},
    {"replace", "/old /new /count?",
     [](auto& e, auto& self, auto& a) {
         return replace(e.budget, self, a.string(0).bytes(), a.string(1), a.integer(2, -1));
     }},
    {"join", "/iterable", joined},
    {"find", "/sub /start? /end?", [](auto& e, auto& self, auto& a) { return Value(find(e, self, a, false)); }},
    {"rfind", "/sub /start? /end?", [](auto& e, auto& self, auto& a) { return Value(find(e, self, a, true)); }},
    {"index", "/sub /start? /end?", [](auto& e, auto& self, auto& a) { return index(e, self, a, false); }},
    {"rindex", "/sub /start? /end?", [](auto& e, auto& self, auto& a) { return index(e, self, a, true); }},
    {"count", "/sub /start? /end?", [](auto& e, auto& self, auto& a) { return count(e, self, a); }},
    {"partition", "/sep", [](auto& e, auto& self, auto& a) { return partition(e, self, a, false); }},
    {"rpartition", "/sep", [](auto& e, auto& self, auto& a) { return partition(e, self, a, true); }},
    {"removeprefix", "/prefix",
     [](auto& e, auto& self, auto& a) {
         const std::string& prefix = a.string(0).bytes();
         const bool there = self.bytes().starts_with(prefix);
         return part(e.budget, self, there ? prefix.size() : 0, self.bytes().size());
     }},
    {"removesuffix", "/suffix",
     [](auto& e, auto& self, auto& a) {
         const std::string& suffix = a.string(0).bytes();
         const bool there = self.bytes().ends_with(suffix);
         return part(e.budget, self, 0, self.bytes().size() - (there ? suffix.size() : 0));
     }},
    {"ljust", "/width /fillchar?", justified<-1>},
    {"rjust", "/width /fillchar?", justified<1>},
    {"center", "/width /fillchar?", justified<0>},
    {"zfill", "/width", zero_filled},
    {"isspace", "", all_characters<is_space>},
    {"isdigit", "", all_characters<is_digit>},
    {"isalpha", "", all_characters<is_alphabetic>},
    {"isalnum", "", all_characters<alphanumeric>},
    {"isascii", "",
     [](auto&, auto& self, auto&) {
         return Value(std::all_of(self.bytes().begin(), self.bytes().end(),
                                  [](char c) { return ascii(static_cast<unsigned char>(c)); }));
     }},
    {"islower", "", [](auto& e, auto& self, auto&) { return Value(apply_test(e, "lower", self, {})); }},
    {"isupper", "", [](auto& e, auto& self, auto&) { return Value(apply_test(e, "upper", self, {})); }},
    {"format", "*", [](auto& e, auto& self, auto& a) { return format_braces(e, self, a.rest()); }},
};

Value view(Evaluator& evaluator, const Value& self, Sequence::Kind kind) {
    std::vector<Value> items;
    for (const auto& [key, value] : self.dict().entries) {
        if (kind == Sequence::Kind::items)
            items.push_back(tuple_of(evaluator, {key, value}));
        else
            items.push_back(kind == Sequence::Kind::keys ? key : value);
    }
    return make_list(evaluator.budget, std::move(items), kind);
}

const Method dict_methods[] = {
    {"get", "/key /default?",
     [](auto& e, auto& self, auto& a) {
         e.budget.step(1 + self.dict().entries.size() / 16);
         const Value* found = self.dict().find(a.at(0));
         return found ? *found : a.optional(1) ? a.at(1) : Value(nullptr);
     }},
    {"items", "", [](auto& e, auto& self, auto&) { return view(e, self, Sequence::Kind::items); }},
    {"keys", "", [](auto& e, auto& self, auto&) { return view(e, self, Sequence::Kind::keys); }},
    {"values", "", [](auto& e, auto& self, auto&) { return view(e, self, Sequence::Kind::values); }},
    {"copy", "", [](auto&, auto& self, auto&) { return self; }},
};

const Method list_methods[] = {
    {"index", "/value /start? /stop?",
     [](auto& e, auto& self, auto& a) {
         const auto& items = self.sequence().items;
         const auto length = static_cast<std::int64_t>(items.size());
         auto bound = [&](std::size_t i, std::int64_t otherwise) {
             const std::int64_t at = a.integer(i, otherwise);
             return std::clamp<std::int64_t>(at < 0 ? at + length : at, 0, length);
         };
         for (std::int64_t i = bound(1, 0); i < bound(2, length); ++i)
             if (equal(e.budget, items[static_cast<std::size_t>(i)], a.at(0))) return Value(i);
         throw Failure("the value looked for is not in the list");
     }},
    {"count", "/value",
     [](auto& e, auto& self, auto& a) {
         std::int64_t found = 0;
         for (const Value& item : self.sequence().items) found += equal(e.budget, item, a.at(0));
         return Value(found);
     }},
};

bool changes(const Value& owner, std::string_view name) {
    static constexpr std::string_view of_list[] = {"append", "clear", "pop",    "reverse",
                                                   "insert", "sort",  "extend", "remove"};
    static constexpr std::string_view of_dict[] = {"clear", "pop", "popitem", "setdefault", "update"};
    if (owner.is_dict()) return std::find(std::begin(of_dict), std::end(of_dict), name) != std::end(of_dict);
    return owner.is_sequence() && owner.sequence().kind == Sequence::Kind::list &&
           std::find(std::begin(of_list), std::end(of_list), name) != std::end(of_list);
}

template <std::size_t size>
std::optional<Value> bind(const Method (&methods)[size], const Value& self, std::string_view name) {
    for (const Method& method : methods)
        if (method.name == name)
            return make_function(std::string(name), self.depth(),
                                 [self, &method](Evaluator& evaluator, Arguments arguments) {
                                     Bound bound(method.name, method.signature, std::move(arguments));
                                     return method.call(evaluator, self, bound);
                                 });
    return std::nullopt;
}

}   // namespace

std::optional<Value> method_of(Evaluator& evaluator, const Value& owner, std::string_view name) {
    if (changes(owner, name))
        return Value::undefined(format("'{}' would change a {}, which templates may not do", name, owner.type_name()));
    if (owner.is_string()) return bind(string_methods, owner, name);
    if (owner.is_dict()) return bind(dict_methods, owner, name);
    if (owner.is_sequence()) {
        const Sequence::Kind kind = owner.sequence().kind;
        if (kind == Sequence::Kind::list && name == "copy")
            return make_function("copy", owner.depth(), [owner](Evaluator&, Arguments) { return owner; });
        return kind <= Sequence::Kind::range ? bind(list_methods, owner, name) : std::nullopt;
    }
    if (owner.is_numeric() && name == "real") return owner.is_bool() ? Value(owner.integral()) : owner;
    return owner.is_object() ? owner.object().attribute(evaluator, name) : std::nullopt;
}

}   // namespace trainer::jinja
