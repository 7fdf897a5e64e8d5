#pragma once

#include <functional>
#include <thread>

namespace trainer {

// A thread that takes no signals. Error(system): "no thread can be started to {purpose}: …".
std::thread start_background_thread(const char* purpose, std::function<void()> work);

}   // namespace trainer
