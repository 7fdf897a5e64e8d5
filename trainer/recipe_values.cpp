#include "trainer/recipe_values.h"

#include <algorithm>
#include <cmath>

namespace trainer {

namespace {

Node any_of(Node::List choices) {
    Node schema = Node::map();
    schema.set("anyOf", std::move(choices));
    return schema;
}

Node of_type(std::string_view type) {
    Node schema = Node::map();
    schema.set("type", type);
    return schema;
}

bool is_metric_name(std::string_view name) {
    return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
}

}   // namespace

// ---- data.train -------------------------------------------------------------------------------------------------

void FieldType<std::vector<TrainSource>>::read(const Node& node, std::vector<TrainSource>& out, const Where& where) {
    std::vector<TrainSource> sources;
    if (node.is_map()) {
        read_fields(node, sources.emplace_back(), where.complaints, where.path);
    } else if (node.is_list() && node.size() > 0) {
        for (std::size_t i = 0; i < node.size(); ++i)
            FieldType<TrainSource>::read(node.as_list()[i], sources.emplace_back(), where.part(std::to_string(i)));
    } else {
        where.complain(
            node, format("expected {}, found {}", expects({}), node.is_list() ? "an empty list" : node.describe()));
    }
    out = std::move(sources);
}

Node FieldType<std::vector<TrainSource>>::write(const std::vector<TrainSource>& sources) {
    if (sources.size() == 1) return write_fields(sources[0]);
    Node list = Node::list();
    for (const TrainSource& source : sources) list.push_back(write_fields(source));
    return list;
}

Node FieldType<std::vector<TrainSource>>::schema(const Limits&) {
    Node list = of_type("array");
    list.set("items", schema_of<TrainSource>());
    list.set("minItems", 1);
    return any_of({schema_of<TrainSource>(), std::move(list)});
}

void FieldType<std::vector<TrainSource>>::explain(std::vector<FieldNote>& notes, const std::string& path) {
    explain_fields<TrainSource>(notes, path + ".");
}

// ---- data.valid -------------------------------------------------------------------------------------------------

void FieldType<std::vector<ValidSource>>::read(const Node& node, std::vector<ValidSource>& out, const Where& where) {
    std::vector<ValidSource> sources;
    if (node.is_null()) {
        out.clear();
        return;
    }
    const auto is_named = [&] {
        const auto is_source = [](const Node::Entry& entry) { return entry.value.is_map(); };
        const Node::Map& entries = node.as_map();
        return !node.contains("path") && std::any_of(entries.begin(), entries.end(), is_source);
    };
    if (!node.is_map()) {
        where.expected(node, expects({}));
    } else if (!is_named()) {
        read_fields(node, sources.emplace_back(), where.complaints, where.path);
    } else {
        for (const Node::Entry& entry : node.as_map()) {
            const Where inner = where.part(entry.key);
            if (!is_metric_name(entry.key))
                where.complaints.add(entry.mark,
                                     format("{}: expected a name of letters, digits, '_' and '-' (it becomes part of "
                                            "eval_NAME_loss), found \"{}\"",
                                            where.path, entry.key));
            ValidSource& source = sources.emplace_back();
            source.name = entry.key;
            FieldType<ValidSource>::read(entry.value, source, inner);
        }
    }
    out = std::move(sources);
}

Node FieldType<std::vector<ValidSource>>::write(const std::vector<ValidSource>& sources) {
    if (sources.empty()) return Node();
    if (sources.size() == 1 && sources[0].name.empty()) return write_fields(sources[0]);
    Node named = Node::map();
    for (const ValidSource& source : sources) named.set(source.name, write_fields(source));
    return named;
}

Node FieldType<std::vector<ValidSource>>::schema(const Limits&) {
    Node named = of_type("object");
    named.set("additionalProperties", schema_of<ValidSource>());
    named.set("minProperties", 1);
    return any_of({of_type("null"), schema_of<ValidSource>(), std::move(named)});
}

void FieldType<std::vector<ValidSource>>::explain(std::vector<FieldNote>& notes, const std::string& path) {
    explain_fields<ValidSource>(notes, path + ".");
}

// ---- data.packing -----------------------------------------------------------------------------------------------

namespace {

struct PackingSection {
    std::string strategy = "best_fit";

    template <typename Visitor>
    void fields(Visitor& field) {
        const auto names = []() -> std::vector<std::string> { return {"best_fit"}; };
        field("strategy", strategy, "how rows are put together", one_of(names), later_word("wrapped"));
    }
};

}   // namespace

void FieldType<PackingStrategy>::read(const Node& node, PackingStrategy& out, const Where& where) {
    if (node.is_bool()) {
        out = node.as_bool() ? PackingStrategy::best_fit : PackingStrategy::none;
    } else if (node.is_map()) {
        PackingSection section;
        read_fields(node, section, where.complaints, where.path);
        out = PackingStrategy::best_fit;
    } else {
        where.expected(node, expects({}));
    }
}

Node FieldType<PackingStrategy>::schema(const Limits&) {
    return any_of({of_type("boolean"), schema_of<PackingSection>()});
}

// ---- training.micro_batch ---------------------------------------------------------------------------------------

void FieldType<MicroBatch>::read(const Node& node, MicroBatch& out, const Where& where) {
    if (node.is_string() && node.as_string() == "auto") {
        out.rows = 0;
    } else if (node.is_number()) {
        FieldType<std::int64_t>::read(node, out.rows, where);
    } else {
        where.expected(node, expects(where.limits));
    }
}

Node FieldType<MicroBatch>::schema(const Limits& limits) {
    Node automatic = Node::map();
    automatic.set("const", "auto");
    return any_of({FieldType<std::int64_t>::schema(limits), std::move(automatic)});
}

// ---- intervals -------------------------------------------------------------------------------------------------

void FieldType<Interval>::read(const Node& node, Interval& out, const Where& where) {
    if (node.is_string() && node.as_string() == "epoch") {
        out = {Interval::Unit::epoch, 1};
        return;
    }
    const double value = node.is_number() ? node.as_number() : 0;
    if (value > 0 && value < 1)
        out = {Interval::Unit::fraction, value};
    else if (value >= 1 && value <= 1e12 && value == std::floor(value))
        out = {Interval::Unit::steps, value};
    else
        where.expected(node, expects({}));
}

Node FieldType<Interval>::write(const Interval& every) {
    switch (every.unit) {
        case Interval::Unit::steps:
            return Node(static_cast<std::int64_t>(every.value));
        case Interval::Unit::epoch:
            return Node("epoch");
        case Interval::Unit::fraction:
            return Node(every.value);
    }
    return {};
}

Node FieldType<Interval>::schema(const Limits&) {
    Node epoch = Node::map();
    epoch.set("const", "epoch");
    return any_of({FieldType<std::int64_t>::schema(at_least(1)), std::move(epoch),
                   FieldType<double>::schema(above(0) & below(1))});
}

}   // namespace trainer
