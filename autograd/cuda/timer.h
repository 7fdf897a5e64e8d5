#pragma once

namespace trainer::cuda {

// Milliseconds of what is begun on the device's stream between `start` and `stop`, by the device's own clock.
class Timer {
public:
    // Whether anything can be measured now: not while the stream records a graph.
    static bool usable();

    Timer();
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    void start();
    double stop();   // waits for what was begun

private:
    void* begin_ = nullptr;   // events
    void* end_ = nullptr;
};

}   // namespace trainer::cuda
