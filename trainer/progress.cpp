#include "trainer/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "configs/error.h"

namespace trainer {

namespace {

bool interactive() {
    const char* term = std::getenv("TERM");
    return isatty(STDOUT_FILENO) && term && std::strcmp(term, "dumb") != 0;
}

int terminal_width() {
    winsize size{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

std::string number(const char* pattern, double value) {
    if (!std::isfinite(value)) return format("{}", value);   // without the sign of a NaN
    char text[48];
    std::snprintf(text, sizeof text, pattern, value);
    return text;
}

}   // namespace

std::string duration_text(double seconds) {
    const auto all = static_cast<long>(std::lround(seconds));
    char text[32];
    if (all >= 3600)
        std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", all / 3600, all / 60 % 60, all % 60);
    else
        std::snprintf(text, sizeof text, "%02ld:%02ld", all / 60, all % 60);
    return text;
}

Progress::Progress(std::int64_t total_steps, std::int64_t every, bool bar)
    : total_(total_steps), every_(every), terminal_(bar && interactive()) {}

Progress::~Progress() { clear_bar(); }

void Progress::clear_bar() {
    if (!bar_shown_) return;
    std::fputs("\r\033[K", stdout);
    std::fflush(stdout);
    bar_shown_ = false;
}

void Progress::step(const Step& step) {
    mean_seconds_ = mean_seconds_ == 0 ? step.seconds : 0.9 * mean_seconds_ + 0.1 * step.seconds;
    if (step.step % every_ != 0 && step.step != total_ && step.step != 1) return;
    const double left = mean_seconds_ * static_cast<double>(total_ - step.step);
    const std::string text =
        format("step {}/{}  loss {}  lr {}  grad norm {}  {} tokens/s  ETA {}", step.step, total_,
               number("%.4f", step.loss), number("%.2e", step.learning_rate), number("%.3f", step.gradient_norm),
               number("%.0f", step.tokens_per_second), duration_text(left));
    if (!terminal_) {
        std::printf("%s\n", text.c_str());
        std::fflush(stdout);
        return;
    }
    const int room = terminal_width() - static_cast<int>(text.size()) - 4;
    std::string bar;
    if (room >= 10) {
        const int width = std::min(room, 40);
        const int done =
            static_cast<int>(static_cast<double>(width) * static_cast<double>(step.step) / static_cast<double>(total_));
        bar = "[" + std::string(static_cast<std::size_t>(done), '=') +
              std::string(static_cast<std::size_t>(width - done), ' ') + "] ";
    }
    const bool colour = std::getenv("NO_COLOR") == nullptr;
    std::printf("\r\033[K%s%s%s%s", colour ? "\033[32m" : "", bar.c_str(), colour ? "\033[0m" : "",
                text.substr(0, static_cast<std::size_t>(std::max(terminal_width() - 1, 20))).c_str());
    std::fflush(stdout);
    bar_shown_ = true;
}

void Progress::line(const std::string& text) {
    clear_bar();
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
}

}   // namespace trainer
