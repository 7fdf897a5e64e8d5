// A library that does something to a run at an exact step: when the line of step STEP_HOOK_AT has been written to
// metrics.jsonl, and STEP_HOOK_DELAY microseconds later (0: before the program goes on), it sends this process the
// signal number STEP_HOOK_SIGNAL, or makes the file STEP_HOOK_FILE.
//
//     LD_PRELOAD=…/libstep_hook.so STEP_HOOK_AT=5 STEP_HOOK_SIGNAL=15 trainer run …
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <string_view>
#include <thread>

namespace {

long number_of(const char* name) {
    const char* text = ::getenv(name);
    return text ? ::strtol(text, nullptr, 10) : 0;
}

bool is_metrics(int number) {
    char path[4096];
    const std::string link = "/proc/self/fd/" + std::to_string(number);
    const ssize_t size = ::readlink(link.c_str(), path, sizeof path);
    return size > 0 && std::string_view(path, static_cast<std::size_t>(size)).ends_with("/metrics.jsonl");
}

void act() {
    if (const long delay = number_of("STEP_HOOK_DELAY")) std::this_thread::sleep_for(std::chrono::microseconds(delay));
    if (const char* file = ::getenv("STEP_HOOK_FILE")) ::close(::open(file, O_WRONLY | O_CREAT, 0666));
    if (const long signal = number_of("STEP_HOOK_SIGNAL")) ::kill(::getpid(), static_cast<int>(signal));
}

// One whole line at a time reaches the file.
void look_at(std::string_view line) {
    static const std::string wanted = "{\"step\": " + std::to_string(number_of("STEP_HOOK_AT")) + ",";
    if (!line.starts_with(wanted) || line.find("\"loss\"") == line.npos) return;
    if (number_of("STEP_HOOK_DELAY") > 0)
        std::thread(act).detach();
    else
        act();
}

}   // namespace

extern "C" ssize_t write(int number, const void* bytes, size_t size) {
    static const auto real = reinterpret_cast<ssize_t (*)(int, const void*, size_t)>(::dlsym(RTLD_NEXT, "write"));
    const ssize_t count = real(number, bytes, size);
    if (size > 0 && *static_cast<const char*>(bytes) == '{' && is_metrics(number))
        look_at({static_cast<const char*>(bytes), size});
    return count;
}
