#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <limits>
#include <memory>

#include "configs/error.h"
#include "configs/json.h"
#include "configs/utf8.h"
#include "data/decode_stream.h"
#include "trainer/commands/command.h"
#include "trainer/commands/ranges.h"
#include "trainer/interrupt.h"
#include "trainer/log.h"
#include "trainer/session.h"

namespace trainer {

namespace {

struct GenerateOptions {
    std::string model;
    std::string revision = "main";
    std::vector<std::string> adapters;   // FOLDER or NAME=FOLDER
    std::string prompt;
    std::string message;
    std::string system;
    bool other_base = false;
    bool chat = false;
    bool json = false;
    SamplingOptions sampling;
};

constexpr std::int64_t longest_chat = 8192;   // tokens kept in the cache of a chat, if the model allows as many

Node message_node(const char* role, const std::string& content) {
    Node message = Node::map();
    message.set("role", role);
    message.set("content", content);
    return message;
}

Node first_messages(const std::string& system) {
    Node messages = Node::list();
    if (!system.empty()) messages.push_back(message_node("system", system));
    return messages;
}

// Prints the text as it comes and returns it, special tokens left out.
std::vector<std::int32_t> stream(Session& session, const std::vector<std::int32_t>& prompt,
                                 const SamplingOptions& sampling, bool show, std::string& text) {
    DecodeStream decode(session.tokenizer(), true);
    const auto take = [&](const std::string& piece) {
        text += piece;
        if (!show) return;
        std::fputs(piece.c_str(), stdout);
        std::fflush(stdout);
    };
    const auto ids = session.generator().generate(prompt, sampling, [&](std::int32_t id) {
        take(decode.push(id));
        return !InterruptGuard::requested() && !std::ferror(stdout);
    });
    take(decode.finish());
    return ids;
}

Node list_of(const std::vector<std::int32_t>& ids) {
    Node list = Node::list();
    for (std::int32_t id : ids) list.push_back(id);
    return list;
}

int answer_once(Session& session, const GenerateOptions& options) {
    std::vector<std::int32_t> prompt;
    if (options.message.empty()) {
        prompt = session.prompt_ids(options.prompt);
    } else {
        Node messages = first_messages(options.system);
        messages.push_back(message_node("user", options.message));
        prompt = session.chat_ids(messages);
    }
    const auto prompt_size = static_cast<std::int64_t>(prompt.size());
    require(prompt_size < session.max_positions(), Exit::usage, "the prompt has {} tokens, the model takes {}",
            prompt_size, session.max_positions());
    session.load(std::min(session.max_positions(), prompt_size + options.sampling.max_tokens));

    std::string text;
    const auto ids = stream(session, prompt, options.sampling, !options.json, text);
    if (options.json) {
        Node out = Node::map();
        out.set("prompt", options.message.empty() ? options.prompt : options.message);
        out.set("input_ids", list_of(prompt));
        out.set("output_ids", list_of(ids));
        out.set("text", text);
        std::printf("%s\n", to_json(out).c_str());
    } else {
        std::printf("\n");
    }
    return InterruptGuard::requested() ? static_cast<int>(Exit::interrupted) : 0;
}

// Drops the first question and its answer; false when only the last question is left.
bool forget_oldest_exchange(Node& messages) {
    Node::List& all = messages.as_list();
    const auto first = std::find_if(all.begin(), all.end(),
                                    [](const Node& message) { return message.at("role").as_string() == "user"; });
    if (all.end() - first < 3) return false;
    all.erase(first, first + 2);
    return true;
}

// Reads a message a line until the end of input. Of a long talk the oldest exchanges are forgotten.
int chat(Session& session, const GenerateOptions& options) {
    session.load(std::min(session.max_positions(), longest_chat));
    const bool terminal = isatty(STDIN_FILENO);
    Node messages = first_messages(options.system);
    std::string line;
    std::int64_t line_number = 0;
    const auto room = static_cast<std::size_t>(std::min(session.max_positions(), longest_chat)) - 1;
    while (!InterruptGuard::requested()) {
        if (terminal) {
            std::fputs("> ", stdout);
            std::fflush(stdout);
        }
        if (!std::getline(std::cin, line)) break;
        ++line_number;
        require(first_invalid_utf8(line) == line.size(), Exit::usage,
                "generate: line {} of the input is not valid UTF-8", line_number);
        if (line.empty()) continue;
        messages.push_back(message_node("user", line));
        std::vector<std::int32_t> prompt = session.chat_ids(messages);
        while (prompt.size() > room && forget_oldest_exchange(messages)) prompt = session.chat_ids(messages);
        std::string text;
        stream(session, prompt, options.sampling, true, text);
        std::printf("\n");
        messages.push_back(message_node("assistant", text));
    }
    return InterruptGuard::requested() ? static_cast<int>(Exit::interrupted) : 0;
}

// Of `a/b` and `a/b/` it is b; "" for the root.
std::string name_of_folder(const std::string& folder) {
    const std::filesystem::path path = std::filesystem::absolute(folder).lexically_normal();
    return (path.has_filename() ? path : path.parent_path()).filename().string();
}

// One alone needs no name; of several each has its own or is called as its folder.
std::vector<NamedAdapter> named_adapters(const std::vector<std::string>& words) {
    if (words.size() == 1 && std::filesystem::exists(words.front())) return {{"", words.front()}};
    std::vector<NamedAdapter> adapters;
    for (const std::string& word : words) {
        const std::size_t sign = word.find('=');
        const bool named = sign != std::string::npos && !std::filesystem::exists(word);
        NamedAdapter adapter{named ? word.substr(0, sign) : "", named ? word.substr(sign + 1) : word};
        require(!adapter.folder.empty() && (!named || !adapter.name.empty()), Exit::usage,
                "--adapter: expected FOLDER or NAME=FOLDER, found \"{}\"", word);
        if (!named) adapter.name = name_of_folder(adapter.folder);
        require(!adapter.name.empty(), Exit::usage, "--adapter: {} has no name; give it one: --adapter NAME=FOLDER",
                adapter.folder);
        for (const NamedAdapter& other : adapters)
            require(other.name != adapter.name, Exit::usage,
                    "--adapter: two adapters are called \"{}\"; give them names: --adapter NAME=FOLDER", adapter.name);
        adapters.push_back(std::move(adapter));
    }
    if (adapters.size() == 1) adapters.front().name.clear();
    return adapters;
}

int generate(const GenerateOptions& options) {
    const int asked = !options.prompt.empty() + !options.message.empty() + options.chat;
    require(asked == 1, Exit::usage, "generate: give one of --prompt, --message, --chat");
    require(!(options.chat && options.json), Exit::usage, "generate: --chat and --json exclude each other");
    require(options.system.empty() || options.prompt.empty(), Exit::usage,
            "generate: --system goes with --message or --chat; a --prompt is continued as it is");
    require(!options.other_base || !options.adapters.empty(), Exit::usage,
            "generate: --other-base has no effect without --adapter; leave it out");
    for (const auto& [name, text] : {std::pair("--prompt", options.prompt), std::pair("--message", options.message),
                                     std::pair("--system", options.system)})
        require(first_invalid_utf8(text) == text.size(), Exit::usage, "generate: {} is not valid UTF-8", name);
    const InterruptGuard guard;
    Session session(options.model, options.revision, named_adapters(options.adapters), options.other_base);
    for (const std::string& warning : session.warnings()) log_warning(warning);
    return options.chat ? chat(session, options) : answer_once(session, options);
}

}   // namespace

std::function<int()> define_generate(CLI::App& app) {
    const auto options = std::make_shared<GenerateOptions>();
    app.add_option("MODEL", options->model, "hub id, model folder or .gguf file")
        ->required()
        ->check(not_blank("a hub id, model folder or .gguf file"));
    app.add_option("--revision", options->revision, "branch, tag or commit of a hub id")
        ->check(not_blank("a branch, tag or commit"));
    app.add_option("--adapter", options->adapters,
                   "folder of a PEFT adapter; several act together: --adapter NAME=FOLDER --adapter NAME=FOLDER")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->check(not_blank("the folder of an adapter"));
    app.add_flag("--other-base", options->other_base, "use adapters although they were made for other weights");
    app.add_option("--prompt", options->prompt, "text to continue")->check(not_blank("a text to continue"));
    app.add_option("--message", options->message, "what the user says, through the chat template")
        ->check(not_blank("what the user says"));
    app.add_option("--system", options->system, "system message")->check(not_blank("a system message"));
    app.add_flag("--chat", options->chat, "talk: one message a line");
    app.add_flag("--json", options->json, "one JSON object: prompt, input_ids, output_ids, text");
    app.add_option("--max-tokens", options->sampling.max_tokens, "most tokens to add")
        ->check(count_from(1))
        ->capture_default_str();
    app.add_option("--temperature", options->sampling.temperature, "0: greedy")
        ->check(number_in(0, 1e9, "a number of at least 0"))
        ->capture_default_str();
    app.add_option("--top-p", options->sampling.top_p, "smallest set of tokens with this probability")
        ->check(number_in(1e-9, 1, "a number above 0 and at most 1"))
        ->capture_default_str();
    app.add_option("--top-k", options->sampling.top_k, "only the k likeliest tokens; 0: all")
        ->check(count_from(0))
        ->capture_default_str();
    app.add_option("--seed", options->sampling.seed, "of the random numbers")
        ->check(count_from(0, std::numeric_limits<std::int64_t>::max()))
        ->capture_default_str();
    return [options] { return generate(*options); };
}

}   // namespace trainer
