#include "trainer/checkpoint/sealed_json.h"

#include "configs/error.h"
#include "configs/json.h"
#include "hub/sha256.h"

namespace trainer {

namespace {

constexpr std::string_view seal_begin = "  \"digest\"";

std::string seal_of(std::string_view text) { return format("{}: \"{}\"\n}}\n", seal_begin, sha256_of(text)); }

}   // namespace

std::string sealed_json(Node map) {
    map.set("digest", "");
    std::string text = to_json(map, {.indent = 2});
    text.resize(text.rfind(seal_begin));
    return text + seal_of(text);
}

bool seal_holds(std::string_view text) {
    const std::size_t begin = text.rfind(seal_begin);
    return begin != std::string_view::npos && text.substr(begin) == seal_of(text.substr(0, begin));
}

}   // namespace trainer
