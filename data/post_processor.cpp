#include "data/post_processor.h"

#include <string>

#include "configs/error.h"

namespace trainer {

namespace {

// Templates of a sequence wrap each other, the last one outermost.
void add_template(const Node& value, PostProcessor& made) {
    PostProcessor wrapped;
    bool seen = false;
    for (const Node& item : value.at("single").as_list()) {
        if (const Node* sequence = item.find("Sequence")) {
            require(!seen && sequence->at("id").as_string() == "A", Exit::bad_data,
                    "tokenizer.json: post_processor TemplateProcessing: `single` must hold the sequence A once");
            seen = true;
            wrapped.before.insert(wrapped.before.end(), made.before.begin(), made.before.end());
            wrapped.after = made.after;
            continue;
        }
        const std::string& name = item.at("SpecialToken").at("id").as_string();
        auto& side = seen ? wrapped.after : wrapped.before;
        for (const Node& id : value.at("special_tokens").at(name).at("ids").as_list())
            side.push_back(static_cast<std::int32_t>(id.as_integer()));
    }
    require(seen, Exit::bad_data,
            "tokenizer.json: post_processor TemplateProcessing: `single` must hold the sequence A once");
    made = std::move(wrapped);
}

void add_stage(const Node& value, PostProcessor& made) {
    const std::string& type = value.at("type").as_string();
    if (type == "Sequence") {
        for (const Node& each : value.at("processors").as_list()) add_stage(each, made);
    } else if (type == "TemplateProcessing") {
        add_template(value, made);
    } else if (type != "ByteLevel") {
        fail(Exit::bad_data,
             "tokenizer.json: post_processor {} is not supported (ByteLevel, TemplateProcessing and Sequence are)",
             type);
    }
}

}   // namespace

PostProcessor make_post_processor(const Node& value) {
    PostProcessor made;
    if (!value.is_null()) add_stage(value, made);
    return made;
}

}   // namespace trainer
