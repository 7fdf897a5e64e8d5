#include "data/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "configs/error.h"
#include "data/regex_syntax.h"

namespace trainer {

namespace {

constexpr std::uint32_t step_limit = 10'000'000;
constexpr std::uint32_t heap_limit = 64 * 1024;   // KiB
constexpr std::size_t jit_stack_limit = 8 << 20;

// What one thread needs to match; freed with the thread.
struct Scratch {
    pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
    pcre2_match_context* context = pcre2_match_context_create(nullptr);
    pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, jit_stack_limit, nullptr);

    Scratch() {
        require(data != nullptr && context != nullptr && stack != nullptr, Exit::out_of_memory,
                "no memory for regular expressions");
        pcre2_set_match_limit(context, step_limit);
        pcre2_set_heap_limit(context, heap_limit);
        pcre2_jit_stack_assign(context, nullptr, stack);
    }
    ~Scratch() {
        pcre2_match_data_free(data);
        pcre2_match_context_free(context);
        pcre2_jit_stack_free(stack);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
};

std::string message(int error) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(error, text, sizeof text);
    return reinterpret_cast<const char*>(text);
}

PCRE2_SPTR pointer(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}   // namespace

struct Regex::Program {
    std::string source;
    pcre2_code* code = nullptr;
    ~Program() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& oniguruma) : program_(std::make_unique<Program>()) {
    program_->source = oniguruma;
    const std::string pattern = pcre2_pattern(oniguruma);
    int error = 0;
    std::size_t place = 0;
    program_->code = pcre2_compile(pointer(pattern), pattern.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error,
                                   &place, nullptr);
    require(program_->code != nullptr, Exit::bad_data, "regular expression {}: {}", oniguruma, message(error));
    pcre2_jit_compile(program_->code, PCRE2_JIT_COMPLETE);   // without JIT pcre2_match interprets
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;

std::optional<Regex::Match> Regex::search(std::string_view text, std::size_t from) const {
    thread_local Scratch scratch;
    const int count = pcre2_match(program_->code, pointer(text), text.size(), from, PCRE2_NO_UTF_CHECK, scratch.data,
                                  scratch.context);
    if (count == PCRE2_ERROR_NOMATCH) return std::nullopt;
    require(count >= 0, Exit::bad_data, "regular expression {}: {} on a text of {} bytes", program_->source,
            message(count), text.size());
    const std::size_t* range = pcre2_get_ovector_pointer(scratch.data);
    return Match{range[0], range[1]};
}

std::string regex_library() {
    char version[64] = {};
    pcre2_config(PCRE2_CONFIG_VERSION, version);
    return std::string("PCRE2 ") + version;
}

}   // namespace trainer
