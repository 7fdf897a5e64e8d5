#pragma once

#include <string>

namespace CLI {
class App;
class ParseError;
}   // namespace CLI

namespace trainer {

// What is wrong with a command line that could not be parsed: the option, what was expected and what was found, or the
// command or option that the user may have meant.
std::string usage_message(const CLI::App& app, const CLI::ParseError& error, int count, char** words);

}   // namespace trainer
