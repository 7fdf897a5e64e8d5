#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace trainer::jinja {

// What a template does wrong while it renders. The evaluator adds the place.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// What one render may use. Every string, list and dict made while rendering holds its share until it dies.
class Budget {
public:
    static constexpr std::int64_t max_steps = 10'000'000;
    static constexpr std::int64_t max_bytes = 256 << 20;
    static constexpr std::size_t max_output = 64 << 20;
    static constexpr std::size_t max_range = 100'000;
    static constexpr int max_depth = 200;          // macro calls, nested values, nested brackets
    static constexpr int max_evaluations = 1200;   // expressions and statements inside each other

    void step(std::size_t count = 1);
    void copy(std::size_t bytes) { step(1 + bytes / 256); }
    void take(std::size_t bytes);
    void give(std::size_t bytes) { bytes_ -= static_cast<std::int64_t>(bytes); }

private:
    std::int64_t steps_ = 0;
    std::int64_t bytes_ = 0;
};

// Where bytes come from: the message they were copied out of (-1: none) and the {% generation %} block that wrote
// them, counted from 1 (0: none).
struct Tag {
    int message = -1;
    int generation = 0;
    bool empty() const { return message < 0 && generation == 0; }
    friend bool operator==(const Tag& a, const Tag& b) = default;
};

// Bytes [begin, end) with one tag. A text's runs are in order, disjoint, never empty; untagged bytes have none.
struct Run {
    std::size_t begin;
    std::size_t end;
    Tag tag;
};

// An immutable UTF-8 string with its provenance.
class Text {
public:
    Text(Budget* budget, std::string bytes, std::vector<Run> runs);
    ~Text();
    Text(const Text&) = delete;
    Text& operator=(const Text&) = delete;

    const std::string bytes;
    const std::vector<Run> runs;
    const std::size_t length;   // code points
    bool ascii() const { return length == bytes.size(); }
    Tag tag_at(std::size_t byte) const;

private:
    std::size_t cost() const;
    Budget* budget_;   // null for the constants of a program
};

using TextPointer = std::shared_ptr<const Text>;
struct Sequence;
struct Dict;
struct Object;

// A Python value as templates see it. Strings, sequences and dicts are immutable and shared.
struct Value {
    enum class Kind : std::uint8_t { undefined, none, boolean, integer, number, string, sequence, dict, object };

    Value() = default;   // undefined without a name
    explicit Value(std::nullptr_t) : kind(Kind::none) {}
    explicit Value(bool value) : kind(Kind::boolean), data(value) {}
    explicit Value(std::int64_t value) : kind(Kind::integer), data(value) {}
    explicit Value(double value) : kind(Kind::number), data(value) {}
    explicit Value(TextPointer value) : kind(Kind::string), data(std::move(value)) {}
    explicit Value(std::shared_ptr<const Sequence> value) : kind(Kind::sequence), data(std::move(value)) {}
    explicit Value(std::shared_ptr<const Dict> value) : kind(Kind::dict), data(std::move(value)) {}
    explicit Value(std::shared_ptr<Object> value) : kind(Kind::object), data(std::move(value)) {}
    // What `x` is when it is not there; using it (not printing it) fails with this message.
    static Value undefined(std::string message);

    Kind kind = Kind::undefined;
    int message = -1;   // the message this was copied out of; strings carry it in their runs instead
    std::variant<std::monostate, bool, std::int64_t, double, TextPointer, std::shared_ptr<const Sequence>,
                 std::shared_ptr<const Dict>, std::shared_ptr<Object>, std::shared_ptr<const std::string>>
        data;

    bool is_undefined() const { return kind == Kind::undefined; }
    bool is_none() const { return kind == Kind::none; }
    bool is_bool() const { return kind == Kind::boolean; }
    bool is_integral() const { return kind == Kind::integer || kind == Kind::boolean; }   // Python's int
    bool is_numeric() const { return is_integral() || kind == Kind::number; }
    bool is_string() const { return kind == Kind::string; }
    bool is_dict() const { return kind == Kind::dict; }
    bool is_sequence() const { return kind == Kind::sequence; }
    bool is_object() const { return kind == Kind::object; }

    // Of the right kind only.
    std::int64_t integral() const {
        return kind == Kind::boolean ? std::get<bool>(data) : std::get<std::int64_t>(data);
    }
    double numeric() const { return kind == Kind::number ? std::get<double>(data) : static_cast<double>(integral()); }
    const Text& text() const { return *std::get<TextPointer>(data); }
    const std::string& bytes() const { return text().bytes; }
    const Sequence& sequence() const { return *std::get<std::shared_ptr<const Sequence>>(data); }
    const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data); }
    Object& object() const { return *std::get<std::shared_ptr<Object>>(data); }
    template <typename T>
    T* object_of() const {
        return is_object() ? dynamic_cast<T*>(&object()) : nullptr;
    }
    std::string undefined_message() const;

    bool truth() const;
    int depth() const;
    std::string type_name() const;   // Python's: "str", "NoneType", …
};

// A list, tuple, range or the view of a dict.
struct Sequence {
    enum class Kind : std::uint8_t { list, tuple, range, keys, values, items };

    Sequence(Budget& budget, Kind kind, std::vector<Value> items);
    ~Sequence();
    Sequence(const Sequence&) = delete;
    Sequence& operator=(const Sequence&) = delete;

    bool subscriptable() const { return kind <= Kind::range; }

    const Kind kind;
    const std::vector<Value> items;
    const int depth;
    std::int64_t start = 0, stop = 0, stride = 1;   // of a range

private:
    Budget& budget_;
};

// Keys keep their order; each stands once (Python's equality: 1, 1.0 and True are one key).
struct Dict {
    using Entry = std::pair<Value, Value>;
    Dict(Budget& budget, std::vector<Entry> entries);   // later entries replace earlier ones with an equal key
    ~Dict();
    Dict(const Dict&) = delete;
    Dict& operator=(const Dict&) = delete;

    const Value* find(const Value& key) const;   // Failure for a list or dict as key
    const Value* find(std::string_view key) const;

    std::vector<Entry> entries;
    int depth = 0;

private:
    Budget& budget_;
};

class Iterator {
public:
    virtual ~Iterator() = default;
    virtual bool next(Value& value) = 0;   // false at the end
};

struct Arguments {
    std::vector<Value> positional;
    std::vector<std::pair<std::string, Value>> named;
};

class Evaluator;

// What has identity or state: functions, macros, namespaces, generators, loops.
struct Object {
    virtual ~Object() = default;
    virtual std::string type_name() const = 0;
    virtual std::string repr() { return "<" + type_name() + " object>"; }
    virtual std::optional<Value> attribute(Evaluator&, std::string_view) { return std::nullopt; }
    virtual bool callable() const { return false; }
    virtual Value call(Evaluator& evaluator, Arguments arguments);
    virtual Iterator* iterator() { return nullptr; }   // what one pass over it reads from; null: not iterable
    virtual std::optional<std::size_t> length(Evaluator&) { return std::nullopt; }
    int depth = 0;
};

struct Function : Object {
    using Body = std::function<Value(Evaluator&, Arguments)>;
    Function(std::string name, Body body) : name(std::move(name)), body(std::move(body)) {}
    std::string type_name() const override { return "builtin_function_or_method"; }
    std::string repr() override { return "<built-in method " + name + ">"; }
    bool callable() const override { return true; }
    Value call(Evaluator& evaluator, Arguments arguments) override { return body(evaluator, std::move(arguments)); }
    std::string name;
    Body body;
};

// Values made on demand, readable once.
struct Generator : Object {
    explicit Generator(std::unique_ptr<Iterator> source) : source(std::move(source)) {}
    std::string type_name() const override { return "generator"; }
    Iterator* iterator() override { return source.get(); }
    std::unique_ptr<Iterator> source;
};

// {{ namespace() }}: the only thing a template can change.
struct Namespace : Object {
    std::string type_name() const override { return "TemplateNamespace"; }
    std::optional<Value> attribute(Evaluator&, std::string_view name) override;
    void set(const std::string& name, Value value);
    std::vector<std::pair<std::string, Value>> attributes;
};

Value make_list(Budget& budget, std::vector<Value> items, Sequence::Kind kind = Sequence::Kind::list);
Value make_text(Budget& budget, std::string_view bytes, Tag tag = {});
Value make_dict(Budget& budget, std::vector<Dict::Entry> entries);
Value make_generator(std::unique_ptr<Iterator> source, int depth);
Value make_function(std::string name, int depth, Function::Body body);

// All values of an iterable, one at a time. Failure when it is none. Keeps the value alive.
std::unique_ptr<Iterator> iterate(const Value& value, Budget& budget);
std::vector<Value> collect(const Value& value, Budget& budget);
bool iterable(const Value& value);

// Python's == and ordering (Failure for kinds that have none; `symbol` is for its message), and what a dict can have as
// key (Failure for others).
bool equal(Budget& budget, const Value& a, const Value& b);
std::partial_ordering order(Budget& budget, const Value& a, const Value& b, std::string_view symbol = "<");
bool hashable(Budget& budget, const Value& value);
void require_hashable(Budget& budget, const Value& value);

}   // namespace trainer::jinja
