#include "trainer/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

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

}   // namespace

void log_warning(const std::string& text) { logger().warn("warning: " + text); }

void log_error(const std::string& text) {
    std::istringstream lines(text);
    std::string line;
    while (std::getline(lines, line)) logger().error("error: " + line);
}

}   // namespace trainer
