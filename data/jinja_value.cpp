#include "data/jinja_value.h"

#include <algorithm>

#include "configs/error.h"
#include "data/jinja_text.h"

namespace trainer::jinja {

void Budget::step(std::size_t count) {
    steps_ += static_cast<std::int64_t>(count);
    if (steps_ > max_steps) throw Failure(format("the template does more than {} steps", max_steps));
}

void Budget::take(std::size_t bytes) {
    if (bytes > static_cast<std::size_t>(max_bytes) || bytes_ + static_cast<std::int64_t>(bytes) > max_bytes)
        throw Failure(format("the template needs more than {} MiB of memory", max_bytes >> 20));
    bytes_ += static_cast<std::int64_t>(bytes);
}

Text::Text(Budget* budget, std::string text, std::vector<Run> tags)
    : bytes(std::move(text)), runs(std::move(tags)), length(code_points(bytes)), budget_(budget) {
    if (budget_) budget_->take(cost());
}

Text::~Text() {
    if (budget_) budget_->give(cost());
}

std::size_t Text::cost() const { return sizeof(Text) + bytes.size() + runs.size() * sizeof(Run); }

Tag Text::tag_at(std::size_t byte) const {
    auto run =
        std::upper_bound(runs.begin(), runs.end(), byte, [](std::size_t at, const Run& r) { return at < r.end; });
    return run != runs.end() && run->begin <= byte ? run->tag : Tag{};
}

Value Value::undefined(std::string message) {
    Value value;
    value.data = std::make_shared<const std::string>(std::move(message));
    return value;
}

std::string Value::undefined_message() const {
    const auto* message = std::get_if<std::shared_ptr<const std::string>>(&data);
    return message ? **message : "the value is undefined";
}

bool Value::truth() const {
    switch (kind) {
        case Kind::undefined:
        case Kind::none:
            return false;
        case Kind::boolean:
        case Kind::integer:
            return integral() != 0;
        case Kind::number:
            return numeric() != 0;
        case Kind::string:
            return !bytes().empty();
        case Kind::sequence:
            return !sequence().items.empty();
        case Kind::dict:
            return !dict().entries.empty();
        case Kind::object:
            return true;
    }
    return false;
}

int Value::depth() const {
    switch (kind) {
        case Kind::sequence:
            return sequence().depth;
        case Kind::dict:
            return dict().depth;
        case Kind::object:
            return object().depth;
        default:
            return 0;
    }
}

std::string Value::type_name() const {
    switch (kind) {
        case Kind::undefined:
            return "Undefined";
        case Kind::none:
            return "NoneType";
        case Kind::boolean:
            return "bool";
        case Kind::integer:
            return "int";
        case Kind::number:
            return "float";
        case Kind::string:
            return "str";
        case Kind::dict:
            return "dict";
        case Kind::object:
            return object().type_name();
        case Kind::sequence:
            break;
    }
    static constexpr const char* names[] = {"list", "tuple", "range", "dict_keys", "dict_values", "dict_items"};
    return names[static_cast<int>(sequence().kind)];
}

namespace {

int one_deeper(int depth) {
    if (depth >= Budget::max_depth) throw Failure(format("values are nested deeper than {}", Budget::max_depth));
    return depth + 1;
}

int depth_of(const std::vector<Value>& items) {
    int depth = 0;
    for (const Value& item : items) depth = std::max(depth, item.depth());
    return one_deeper(depth);
}

std::size_t cost_of(std::size_t elements, std::size_t size) { return 96 + elements * size; }

}   // namespace

Sequence::Sequence(Budget& budget, Kind which, std::vector<Value> values)
    : kind(which), items(std::move(values)), depth(depth_of(items)), budget_(budget) {
    budget_.step(1 + items.size() / 8);
    budget_.take(cost_of(items.size(), sizeof(Value)));
}

Sequence::~Sequence() { budget_.give(cost_of(items.size(), sizeof(Value))); }

Dict::Dict(Budget& budget, std::vector<Entry> all) : budget_(budget) {
    for (Entry& entry : all) {
        require_hashable(budget_, entry.first);
        budget_.step(1 + entries.size() / 16);
        depth = std::max({depth, entry.first.depth(), entry.second.depth()});
        if (const Value* old = find(entry.first))
            const_cast<Value&>(*old) = std::move(entry.second);
        else
            entries.push_back(std::move(entry));
    }
    depth = one_deeper(depth);
    budget_.take(cost_of(entries.size(), sizeof(Entry)));
}

Dict::~Dict() { budget_.give(cost_of(entries.size(), sizeof(Entry))); }

const Value* Dict::find(std::string_view key) const {
    for (const auto& [name, value] : entries)
        if (name.is_string() && name.bytes() == key) return &value;
    return nullptr;
}

const Value* Dict::find(const Value& key) const {
    if (key.is_string()) return find(key.bytes());
    require_hashable(budget_, key);
    for (const auto& [name, value] : entries)
        if (equal(budget_, name, key)) return &value;
    return nullptr;
}

Value Object::call(Evaluator&, Arguments) { throw Failure(format("'{}' object is not callable", type_name())); }

std::optional<Value> Namespace::attribute(Evaluator&, std::string_view name) {
    for (const auto& [key, value] : attributes)
        if (key == name) return value;
    return std::nullopt;
}

void Namespace::set(const std::string& name, Value value) {
    if (name.starts_with('_'))
        throw Failure(format("a namespace attribute cannot start with an underscore ('{}')", name));
    for (auto& [key, old] : attributes)
        if (key == name) {
            old = std::move(value);
            return;
        }
    if (attributes.size() >= 10'000) throw Failure("a namespace holds more than 10000 attributes");
    attributes.emplace_back(name, std::move(value));
}

Value make_list(Budget& budget, std::vector<Value> items, Sequence::Kind kind) {
    return Value(std::make_shared<const Sequence>(budget, kind, std::move(items)));
}

Value make_text(Budget& budget, std::string_view bytes, Tag tag) {
    std::vector<Run> runs;
    if (!tag.empty() && !bytes.empty()) runs.push_back({0, bytes.size(), tag});
    return Value(std::make_shared<const Text>(&budget, std::string(bytes), std::move(runs)));
}

Value make_dict(Budget& budget, std::vector<Dict::Entry> entries) {
    return Value(std::make_shared<const Dict>(budget, std::move(entries)));
}

Value make_generator(std::unique_ptr<Iterator> source, int depth) {
    auto generator = std::make_shared<Generator>(std::move(source));
    generator->depth = one_deeper(depth);
    return Value(std::shared_ptr<Object>(std::move(generator)));
}

Value make_function(std::string name, int depth, Function::Body body) {
    auto function = std::make_shared<Function>(std::move(name), std::move(body));
    function->depth = one_deeper(depth);
    return Value(std::shared_ptr<Object>(std::move(function)));
}

namespace {

struct OverSequence : Iterator {
    explicit OverSequence(Value all) : value(std::move(all)) {}
    bool next(Value& out) override {
        const auto& items = value.sequence().items;
        if (at == items.size()) return false;
        out = items[at++];
        return true;
    }
    Value value;
    std::size_t at = 0;
};

struct OverKeys : Iterator {
    explicit OverKeys(Value all) : value(std::move(all)) {}
    bool next(Value& out) override {
        const auto& entries = value.dict().entries;
        if (at == entries.size()) return false;
        out = entries[at++].first;
        return true;
    }
    Value value;
    std::size_t at = 0;
};

struct OverCharacters : Iterator {
    OverCharacters(Value all, Budget& shared) : value(std::move(all)), budget(shared) {}
    bool next(Value& out) override {
        const Text& text = value.text();
        if (at == text.bytes.size()) return false;
        std::size_t size = character_size(text.bytes, at);
        out = part(budget, value, at, at + size);
        at += size;
        return true;
    }
    Value value;
    Budget& budget;
    std::size_t at = 0;
};

struct OverObject : Iterator {
    explicit OverObject(Value all) : value(std::move(all)) {}
    bool next(Value& out) override { return value.object().iterator()->next(out); }
    Value value;
};

struct OverNothing : Iterator {
    bool next(Value&) override { return false; }
};

// Steps are paid here, whoever reads.
struct Metered : Iterator {
    Metered(std::unique_ptr<Iterator> from, Budget& shared) : source(std::move(from)), budget(shared) {}
    bool next(Value& out) override {
        budget.step();
        return source->next(out);
    }
    std::unique_ptr<Iterator> source;
    Budget& budget;
};

std::unique_ptr<Iterator> source_of(const Value& value, Budget& budget) {
    switch (value.kind) {
        case Value::Kind::undefined:
            return std::make_unique<OverNothing>();
        case Value::Kind::sequence:
            return std::make_unique<OverSequence>(value);
        case Value::Kind::dict:
            return std::make_unique<OverKeys>(value);
        case Value::Kind::string:
            return std::make_unique<OverCharacters>(value, budget);
        case Value::Kind::object:
            if (value.object().iterator()) return std::make_unique<OverObject>(value);
            break;
        default:
            break;
    }
    throw Failure(format("'{}' object is not iterable", value.type_name()));
}

}   // namespace

std::unique_ptr<Iterator> iterate(const Value& value, Budget& budget) {
    return std::make_unique<Metered>(source_of(value, budget), budget);
}

std::vector<Value> collect(const Value& value, Budget& budget) {
    if (value.is_sequence()) {
        budget.step(1 + value.sequence().items.size() / 8);
        return value.sequence().items;
    }
    std::vector<Value> all;
    auto source = iterate(value, budget);
    for (Value item; source->next(item);) all.push_back(std::move(item));
    return all;
}

bool iterable(const Value& value) {
    using Kind = Value::Kind;
    return value.kind == Kind::undefined || value.kind == Kind::sequence || value.kind == Kind::dict ||
           value.kind == Kind::string || (value.is_object() && value.object().iterator());
}

}   // namespace trainer::jinja
