#include "trainer/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <sstream>

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
    rlimit limit{};
    const bool limited = ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    const std::string smaller = "make the work smaller (training.micro_batch, training.recompute, data.max_length)";
    if (!limited) return "; " + smaller;
    return format(" (address space is limited to {} MiB: ulimit -v); raise the limit or {}", limit.rlim_cur >> 20,
                  smaller);
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
