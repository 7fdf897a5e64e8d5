#include "trainer/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <sstream>
#include <string>
#include <vector>

namespace trainer {

namespace {

spdlog::logger& logger() {
    static const std::shared_ptr<spdlog::logger> instance = [] {
        auto made = spdlog::stderr_logger_mt("trainer");
        made->set_pattern("%v");
        made->flush_on(spdlog::level::trace);
        return made;
    }();
    return *instance;
}

// What stands behind the message of memory that could not be had.
std::string memory_advice() {
    std::vector<std::string> limits;
    const auto look = [&](auto resource, const char* what, const char* option) {
        rlimit limit{};
        if (::getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
            limits.push_back(format("{} is limited to {} MiB: ulimit {}", what, limit.rlim_cur >> 20, option));
    };
    look(RLIMIT_AS, "address space", "-v");
    look(RLIMIT_DATA, "data", "-d");
    const std::string smaller = "make the work smaller (training.micro_batch, training.recompute, data.max_length)";
    if (limits.empty()) return "; " + smaller;
    return format(" ({}); raise the limit or {}", join(limits, "; "), smaller);
}

}   // namespace

void log_warning(const std::string& text) { logger().warn("warning: " + text); }

void log_error(const std::string& text) {
    std::istringstream lines(text);
    std::string line;
    while (std::getline(lines, line)) logger().error("error: " + line);
}

void log_error(const Error& error) {
    log_error(error.what() + (error.code() == Exit::out_of_memory ? memory_advice() : std::string()));
}

}   // namespace trainer
