#include "configs/fields.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "configs/yaml.h"

namespace trainer {

// ---- limits -----------------------------------------------------------------------------------------------------

Limits Limits::operator&(const Limits& other) const {
    Limits both = *this;
    if (other.low > both.low) both.low = other.low, both.low_open = other.low_open;
    if (other.high < both.high) both.high = other.high, both.high_open = other.high_open;
    both.required |= other.required;
    both.not_empty |= other.not_empty;
    both.only_map |= other.only_map;
    if (other.names) both.names = other.names;
    if (!other.later.empty()) both.later = other.later;
    return both;
}

bool Limits::allows(double value) const {
    if (!std::isfinite(value)) return false;
    if (low_open ? value <= low : value < low) return false;
    return !(high_open ? value >= high : value > high);
}

std::string Limits::text() const {
    const auto number = [](double value) {
        const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
        return whole ? std::to_string(static_cast<std::int64_t>(value)) : format("{}", value);
    };
    const bool has_low = std::isfinite(low);
    const bool has_high = std::isfinite(high);
    if (has_low && has_high && !low_open)
        return format(" from {} to {}{}", number(low), high_open ? "below " : "", number(high));
    std::string out;
    if (has_low) out += (low_open ? " above " : " of at least ") + number(low);
    if (has_low && has_high) out += " and";
    if (has_high) out += (high_open ? " below " : " at most ") + number(high);
    return out;
}

void Limits::describe(Node& schema) const {
    const auto number = [](double value) {
        return value == std::floor(value) ? Node(static_cast<std::int64_t>(value)) : Node(value);
    };
    if (std::isfinite(low)) schema.set(low_open ? "exclusiveMinimum" : "minimum", number(low));
    if (std::isfinite(high)) schema.set(high_open ? "exclusiveMaximum" : "maximum", number(high));
}

Limits at_least(double low) { return {.low = low}; }
Limits above(double low) { return {.low = low, .low_open = true}; }
Limits at_most(double high) { return {.high = high}; }
Limits below(double high) { return {.high = high, .high_open = true}; }
Limits between(double low, double high) { return {.low = low, .high = high}; }
Limits required() { return {.required = true}; }
Limits not_empty() { return {.not_empty = true}; }
Limits only_map() { return {.only_map = true}; }
Limits one_of(std::vector<std::string> (*names)()) { return {.names = names}; }
Limits later_word(std::string_view word) { return {.later = word}; }

// ---- complaints -------------------------------------------------------------------------------------------------

void Complaints::add(const Mark& mark, const std::string& sentence) { all_.push_back({mark, sentence}); }

std::vector<Error> Complaints::in_order() const {
    std::vector<One> sorted = all_;
    std::stable_sort(sorted.begin(), sorted.end(), [](const One& a, const One& b) {
        // Places without a line (overrides of the command line) come last.
        const auto key = [](const One& one) { return std::tuple(one.mark.line == 0, one.mark.line, one.mark.column); };
        return key(a) < key(b);
    });
    std::vector<Error> errors;
    for (const One& one : sorted) {
        const std::string place = one.mark.text();
        errors.emplace_back(code_, place.empty() ? one.sentence : place + ": " + one.sentence);
    }
    return errors;
}

void Complaints::raise() const {
    if (!all_.empty()) throw Errors(in_order());
}

void Where::complain(const Node& node, const std::string& sentence) const {
    complaints.add(node.mark(), path.empty() ? sentence : path + ": " + sentence);
}

void Where::expected(const Node& node, const std::string& what) const {
    if (!limits.later.empty() && node.is_string() && node.as_string() == limits.later)
        complain(node, format("{} is not available in this version; expected {}", limits.later, what));
    else
        complain(node, format("expected {}, found {}", what, node.describe()));
}

Where Where::inside(std::string_view key) const {
    return {complaints, path.empty() ? std::string(key) : path + "." + std::string(key), limits};
}

Where Where::part(std::string_view key) const {
    Where inner = inside(key);
    inner.limits = {};
    return inner;
}

// ---- reading ----------------------------------------------------------------------------------------------------

FieldReader::FieldReader(const Node& map, std::string path, Complaints& complaints)
    : map_(map), path_(std::move(path)), complaints_(complaints) {}

Where FieldReader::where(std::string_view key, const Limits& limits) const {
    return {complaints_, path_.empty() ? std::string(key) : path_ + "." + std::string(key), limits};
}

const Node* FieldReader::claim(std::string_view key, std::string_view help, const Limits& limits, bool section) {
    known_.emplace_back(key);
    const Node* value = map_.find(key);
    if (!value && limits.required && !section)
        where(key, limits).complain(map_, format("this key is required ({})", help));
    return value;
}

Node FieldReader::no_keys() const { return std::move(Node::map().with_mark(map_.mark())); }

void FieldReader::later(std::string_view key, std::string_view what_to_do) {
    postponed_.push_back(key);
    if (!map_.is_map()) return;
    for (const Node::Entry& entry : map_.as_map())
        if (entry.key == key)
            complaints_.add(entry.mark,
                            format("{}: not available in this version; {}", where(key, {}).path, what_to_do));
}

void FieldReader::elsewhere(std::string_view key, std::string_view choice) { elsewhere_.emplace_back(key, choice); }

void FieldReader::finish() {
    if (complaints_.lenient() || !map_.is_map()) return;
    for (const Node::Entry& entry : map_.as_map()) {
        const auto same = [&](std::string_view key) { return key == entry.key; };
        if (std::any_of(known_.begin(), known_.end(), same)) continue;
        if (std::any_of(postponed_.begin(), postponed_.end(), same)) continue;
        std::vector<std::string> choices;
        for (const auto& [key, choice] : elsewhere_)
            if (key == entry.key) choices.push_back(choice);
        if (!choices.empty()) {
            complaints_.add(entry.mark, format("{}: is a key of {} only; valid keys: {}", where(entry.key, {}).path,
                                               join(choices), join(known_)));
            continue;
        }
        const std::string near = nearest(entry.key, known_);
        complaints_.add(entry.mark,
                        format("{}: unknown key; {}", where(entry.key, {}).path,
                               near.empty() ? "valid keys: " + join(known_) : "did you mean " + near + "?"));
    }
}

// ---- schema and notes -------------------------------------------------------------------------------------------

FieldSchema::FieldSchema() {
    node.set("type", "object");
    node.set("properties", Node::map());
    node.set("additionalProperties", false);
}

void FieldSchema::add(std::string_view key, Node schema, std::string_view help, Node standard, bool required_key) {
    schema.set("description", help);
    if (required_key) {
        if (!node.contains("required")) node.set("required", Node::list());
        node.find("required")->push_back(key);
    } else {
        schema.set("default", std::move(standard));
    }
    node.find("properties")->set(key, std::move(schema));
}

namespace fields_detail {

FieldNote note(std::string key, std::string type, const Node& standard, bool required_key, std::string_view help) {
    std::string text;
    if (!required_key) {
        text = to_yaml(standard);
        text.pop_back();
    }
    return {std::move(key), std::move(type), std::move(text), std::string(help)};
}

void NotesOfChoices::add(const std::string& choice, const std::vector<FieldNote>& notes) {
    for (const FieldNote& note : notes) {
        const auto found = std::find_if(all_.begin(), all_.end(), [&](const Shared& one) {
            return std::tie(one.note.key, one.note.type, one.note.help) == std::tie(note.key, note.type, note.help) &&
                   (one.note.standard == note.standard || note.key.ends_with(".name"));
        });
        if (found == all_.end())
            all_.push_back({note, {choice}});
        else
            found->choices.push_back(choice);
    }
}

void NotesOfChoices::append_to(std::vector<FieldNote>& notes, std::size_t choices) const {
    for (const auto& [note, of] : all_) {
        FieldNote& added = notes.emplace_back(note);
        if (of.size() < choices) added.help += " (" + join(of) + ")";
    }
}

Node any_choice(const std::string& standard, std::vector<std::pair<std::string, Node>> schemas) {
    Node all = Node::list();
    for (auto& [name, schema] : schemas) {
        Node& chosen = *schema.find("properties")->find("name");
        chosen.erase("enum");
        chosen.set("const", name);
        chosen.erase("default");
        if (name == standard) {
            chosen.set("default", name);
        } else {
            if (!schema.contains("required")) schema.set("required", Node::list());
            schema.find("required")->push_back("name");
        }
        all.push_back(std::move(schema));
    }
    Node either = Node::map();
    either.set("anyOf", std::move(all));
    return either;
}

}   // namespace fields_detail

std::string to_text(const std::vector<FieldNote>& notes) {
    std::size_t width = 0;
    for (const FieldNote& note : notes) width = std::max(width, note.key.size());
    std::string text;
    for (const FieldNote& note : notes) {
        const std::string indent(width + 2, ' ');
        text += note.key + indent.substr(note.key.size()) + note.help + "\n";
        text += indent + note.type + "; " + (note.standard.empty() ? "required" : "default " + note.standard) + "\n";
    }
    return text;
}

}   // namespace trainer
