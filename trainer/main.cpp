#include <omp.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "autograd/cpu/isa.h"
#include "configs/error.h"
#include "trainer/commands/command.h"
#include "trainer/commands/usage.h"
#include "trainer/log.h"
#include "trainer/thread_policy.h"
#include "trainer/version.h"

namespace trainer {

const std::vector<Command>& commands() {
    static const std::vector<Command> table = {
        {"run", "train as a recipe says", define_run},
        {"check", "validate recipe, model and all data; show the memory plan; train nothing", define_check},
        {"preview", "show rows as the model will see them, and what is trained on", define_preview},
        {"verify", "prove on a recipe that runs are exact, or check a finished run", define_verify},
        {"generate", "let a model write", define_generate},
        {"combine", "write the weighted sum of several LoRA adapters as one", define_combine},
        {"merge", "write base and adapter as one model", define_merge},
        {"export", "write a model in another format", define_export},
        {"list", "what there is: models, methods, optimizers, schedules, formats, objectives, recipe", define_list},
        {"schema", "print the JSON schema of recipes", define_schema},
        {"info", "describe this machine or a model", define_info},
    };
    return table;
}

namespace {

constexpr int most_threads = 1024;

int run_program(int count, char** words) {
    require(omp_get_max_threads() <= most_threads, Exit::usage, "OMP_NUM_THREADS is {}; expected at most {}",
            omp_get_max_threads(), most_threads);
    isa();   // an instruction set asked for by the environment is checked before anything else
    CLI::App app("Fine-tunes language models from a recipe.", "trainer");
    app.set_version_flag("--version", version_text);
    app.require_subcommand(1);
    std::vector<std::pair<CLI::App*, std::function<int()>>> actions;
    for (const Command& command : commands()) {
        CLI::App* sub = app.add_subcommand(command.name, command.help);
        actions.emplace_back(sub, command.define(*sub));
    }
    try {
        app.parse(count, words);
    } catch (const CLI::Success& success) {   // --help, --version
        return app.exit(success);
    } catch (const CLI::ParseError& error) {
        fail(Exit::usage, "{}", usage_message(app, error, count, words));
    }
    start_threads();
    for (const auto& [sub, action] : actions)
        if (sub->parsed()) return action();
    return static_cast<int>(Exit::internal);
}

}   // namespace

}   // namespace trainer

int main(int count, char** words) {
    using namespace trainer;
    let_waiting_threads_sleep(words);
    std::signal(SIGPIPE, SIG_IGN);   // a closed output is an error at the end; what is under way is done before
    std::signal(SIGXFSZ, SIG_IGN);   // a file beyond the limit is an error like a full disk
    share_one_arena();
    try {
        const int code = run_program(count, words);
        const bool written = std::fflush(stdout) == 0 && !std::ferror(stdout);
        require(written || code != 0, Exit::io, "standard output cannot be written");   // 75 when the terminal is gone
        return code;
    } catch (const std::exception& exception) {
        const Error error = as_error(exception);
        log_error(error);
        return static_cast<int>(error.code());
    }
}
