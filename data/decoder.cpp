#include "data/decoder.h"

#include <string>

#include "configs/error.h"

namespace trainer {

namespace {

void add_stage(const Node& value, Decoder& made, bool& fused) {
    const std::string& type = value.at("type").as_string();
    if (type == "Sequence") {
        for (const Node& each : value.at("decoders").as_list()) add_stage(each, made, fused);
    } else if (type == "Fuse") {
        fused = true;
    } else if (type == "ByteLevel") {
        require(made != Decoder::byte_level && !fused, Exit::bad_data,
                "tokenizer.json: decoder ByteLevel after ByteLevel or Fuse is not supported");
        made = Decoder::byte_level;
    } else {
        fail(Exit::bad_data, "tokenizer.json: decoder {} is not supported (ByteLevel, Fuse and Sequence are)", type);
    }
}

}   // namespace

Decoder make_decoder(const Node& value) {
    if (value.is_null()) return Decoder::spaced;
    Decoder made = Decoder::fused;
    bool fused = false;
    add_stage(value, made, fused);
    return made;
}

}   // namespace trainer
