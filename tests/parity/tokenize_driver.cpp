// The tokenizer as a filter, for tests/parity/tokenizer.py.
//
//     tokenize_driver TOKENIZER.json < strings > results
//
// Input: for each string its length in bytes (u32, little-endian) and its bytes. Output for each: the number of tokens
// (u32), then id, begin and end of each (i32), then three texts as length and bytes: decode, decode without special
// tokens, and the joined output of DecodeStream.

#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>

#include "configs/json.h"
#include "data/decode_stream.h"
#include "data/tokenizer.h"

namespace {

void write(const void* data, std::size_t size) { std::fwrite(data, 1, size, stdout); }

void write_text(const std::string& text) {
    const auto size = static_cast<std::uint32_t>(text.size());
    write(&size, sizeof size);
    write(text.data(), text.size());
}

void answer(const trainer::Tokenizer& tokenizer, const std::string& text) {
    const std::vector<trainer::Token> tokens = tokenizer.encode(text, true);
    const auto count = static_cast<std::uint32_t>(tokens.size());
    write(&count, sizeof count);
    write(tokens.data(), tokens.size() * sizeof(trainer::Token));
    std::vector<std::int32_t> ids;
    std::string streamed;
    trainer::DecodeStream stream(tokenizer, false);
    for (const trainer::Token& token : tokens) {
        ids.push_back(token.id);
        streamed += stream.push(token.id);
    }
    streamed += stream.finish();
    write_text(tokenizer.decode(ids, false));
    write_text(tokenizer.decode(ids, true));
    write_text(streamed);
}

}   // namespace

int main(int count, char** arguments) {
    static_assert(sizeof(trainer::Token) == 12);
    if (count != 2) return 64;
    try {
        const auto tokenizer = trainer::make_tokenizer(trainer::read_json(arguments[1]));
        std::uint32_t size = 0;
        std::string text;
        while (std::fread(&size, sizeof size, 1, stdin) == 1) {
            text.resize(size);
            if (std::fread(text.data(), 1, size, stdin) != size) return 65;
            answer(*tokenizer, text);
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 70;
    }
    return 0;
}
