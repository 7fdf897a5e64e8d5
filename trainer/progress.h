#pragma once

#include <cstdint>
#include <string>

namespace trainer {

// Progress on standard output: a bar that redraws itself on a terminal, plain lines otherwise (also with TERM=dumb).
// Colour only on a terminal without NO_COLOR.
class Progress {
public:
    // `bar`: false for plain lines everywhere.
    Progress(std::int64_t total_steps, std::int64_t every, bool bar = true);
    ~Progress();

    struct Step {
        std::int64_t step;
        double loss;
        double learning_rate;
        double gradient_norm;
        double tokens_per_second;
        double seconds;   // of this step
    };
    void step(const Step& step);
    // A line of its own between steps ("validation loss 2.31").
    void line(const std::string& text);

private:
    void clear_bar();

    std::int64_t total_;
    std::int64_t every_;
    bool terminal_;
    bool bar_shown_ = false;
    double mean_seconds_ = 0;   // running mean over the last steps, for the time left
};

// "02:05", "1:02:05"
std::string duration_text(double seconds);

}   // namespace trainer
