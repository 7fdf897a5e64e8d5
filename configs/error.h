#pragma once

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace trainer {

// Exit codes of the program (docs/exit_codes.md). They are an interface: other programs act on them.
enum class Exit : int {
    done = 0,
    usage = 64,           // the command line
    bad_data = 65,        // bad model, tokenizer or data
    no_input = 66,        // a file that must be read is missing
    unavailable = 69,     // hub not reachable
    internal = 70,        // a bug of ours
    system = 71,          // cores, handles, driver
    cannot_create = 73,   // output folder or file
    io = 74,              // reading or writing failed half-way
    preempted = 75,       // checkpointed; run again
    refused = 77,         // security policy
    bad_recipe = 78,
    diverged = 80,   // non-finite numbers
    out_of_memory = 81,
    peer_lost = 82,
    hang = 83,
    bad_checkpoint = 84,
    incompatible_resume = 85,
    interrupted = 130,   // Ctrl-C
};

// What every failure of the program is reported with. `what()` is a whole sentence for the user:
// where, what was found, what was expected, what to do.
class Error : public std::runtime_error {
public:
    Error(Exit code, const std::string& message) : std::runtime_error(message), code_(code) {}
    Exit code() const { return code_; }

private:
    Exit code_;
};

// Several failures found in one pass. The message holds one per line; the code is the first present in the order
// usage, bad_recipe, no_input, unavailable, cannot_create, bad_data, then any other.
class Errors : public Error {
public:
    explicit Errors(std::vector<Error> all);
    const std::vector<Error>& all() const { return all_; }

private:
    std::vector<Error> all_;
};

// Any exception as an Error: out_of_memory when memory could not be had, io for a file system's refusal, system for
// another refusal of the operating system, internal for the rest.
Error as_error(const std::exception& exception);

// Runs pieces of work one after another and keeps the errors they throw, to report them all at once.
class ErrorCollector {
public:
    // Whether the work went well.
    template <typename Work>
    bool run(Work&& work) {
        try {
            work();
            return true;
        } catch (const Errors& several) {
            all_.insert(all_.end(), several.all().begin(), several.all().end());
        } catch (const Error& one) {
            all_.push_back(one);
        }
        return false;
    }
    void raise();   // throws what was kept; nothing when all went well

private:
    std::vector<Error> all_;
};

namespace detail {

struct Argument {
    std::string text;
    Argument(std::string_view value) : text(value) {}
    Argument(const std::string& value) : text(value) {}
    Argument(const char* value) : text(value) {}
    Argument(char value) : text(1, value) {}
    Argument(bool value) : text(value ? "true" : "false") {}
    Argument(double value);   // shortest text that reads back to the same number
    Argument(float value);
    Argument(int value) : text(std::to_string(value)) {}
    Argument(long value) : text(std::to_string(value)) {}
    Argument(long long value) : text(std::to_string(value)) {}
    Argument(unsigned value) : text(std::to_string(value)) {}
    Argument(unsigned long value) : text(std::to_string(value)) {}
    Argument(unsigned long long value) : text(std::to_string(value)) {}
};

std::string format(std::string_view pattern, const Argument* arguments, std::size_t count);

}   // namespace detail

// Replaces each `{}` of the pattern by the next argument. `{{` and `}}` are literal braces.
template <typename... Arguments>
std::string format(std::string_view pattern, const Arguments&... arguments) {
    if constexpr (sizeof...(arguments) == 0) {
        return detail::format(pattern, nullptr, 0);
    } else {
        const detail::Argument list[] = {detail::Argument(arguments)...};
        return detail::format(pattern, list, sizeof...(arguments));
    }
}

template <typename... Arguments>
[[noreturn]] void fail(Exit code, std::string_view pattern, const Arguments&... arguments) {
    throw Error(code, format(pattern, arguments...));
}

// A contract between parts of the program: a failure is a bug of ours (exit code 70).
template <typename... Arguments>
void check(bool condition, std::string_view pattern, const Arguments&... arguments) {
    if (!condition) [[unlikely]]
        fail(Exit::internal, pattern, arguments...);
}

// The same with another exit code, for what a user's input can break.
template <typename... Arguments>
void require(bool condition, Exit code, std::string_view pattern, const Arguments&... arguments) {
    if (!condition) [[unlikely]]
        fail(code, pattern, arguments...);
}

// The candidate nearest to `word` by edit distance, or "" when none is near (distance at most 1/3 of the length, at
// least 2). For "did you mean …" in messages.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// `did you mean "rank"? ` with the nearest candidate, or "" when none is near: goes in front of what is valid.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

// "a, b, c"
std::string join(const std::vector<std::string>& parts, std::string_view separator = ", ");

}   // namespace trainer
