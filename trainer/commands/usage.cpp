#include "trainer/commands/usage.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "configs/error.h"

namespace trainer {

namespace {

std::vector<std::string> option_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::Option* option : app.get_options())
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    return names;
}

// Words that no option or argument took, the first mistake in front.
std::string extras_message(const CLI::App& app) {
    const std::vector<std::string> extras = app.remaining(true);
    if (extras.empty()) return "leave the -- out; ";
    const auto option = std::find_if(extras.begin(), extras.end(), [](const auto& word) { return word[0] == '-'; });
    if (option == extras.end()) return format("\"{}\" is one word too many; ", extras.front());
    const std::string name = option->substr(0, option->find('='));
    return format("there is no option {}; {}", name, did_you_mean(name, option_names(app)));
}

// CLI11 writes "NAME: what is wrong" of a wrong number of values.
std::string count_message(const CLI::App& app, const std::string& sentence) {
    const std::string name = sentence.substr(0, sentence.find(':'));
    const CLI::Option* option = app.get_option_no_throw(name);
    const std::size_t found = option ? option->results().size() : 0;
    return found > 1 ? format("{}: expected one value, found {}; ", name, found)
                     : format("{}: expected a value, found nothing; ", name);
}

// "Could not convert: --json = foo" of a flag: the values of other options are checked by validators of ours.
std::string conversion_message(const std::string& sentence) {
    const std::string pair = sentence.substr(std::min(sentence.size(), sentence.find(": ") + 2));
    const std::size_t equals = std::min(pair.size(), pair.find(" = "));
    return format("{}: expected no value, found {}; ", pair.substr(0, equals),
                  pair.substr(std::min(pair.size(), equals + 3)));
}

std::string what_is_wrong(const CLI::App& app, const CLI::ParseError& error) {
    const std::string sentence = error.what();
    if (dynamic_cast<const CLI::ExtrasError*>(&error)) return extras_message(app);
    if (dynamic_cast<const CLI::ArgumentMismatch*>(&error)) return count_message(app, sentence);
    if (dynamic_cast<const CLI::ConversionError*>(&error)) return conversion_message(sentence);
    return sentence + "; ";
}

std::vector<std::string> command_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
        names.push_back(command->get_name());
    return names;
}

}   // namespace

std::string usage_message(const CLI::App& app, const CLI::ParseError& error, int count, char** words) {
    const CLI::App* current = &app;
    std::string path;   // of commands, such as "verify resume "
    std::vector<std::string> names = command_names(app);
    int next = 1;
    for (; next < count && std::find(names.begin(), names.end(), words[next]) != names.end(); ++next) {
        current = current->get_subcommand(words[next]);
        path += std::string(words[next]) + " ";
        names = command_names(*current);
    }
    const std::string help = format("see trainer {}--help", path);
    if (names.empty()) return what_is_wrong(*current, error) + help;
    const std::string kind = path + "command";
    if (next == count) return format("no {}; available: {}", kind, join(names));
    const std::string word = words[next];
    if (word.starts_with("-"))
        return format("there is no option {}; {}{}", word, did_you_mean(word, option_names(*current)), help);
    return format("there is no {} \"{}\"; {}available: {}", kind, word, did_you_mean(word, names), join(names));
}

}   // namespace trainer
