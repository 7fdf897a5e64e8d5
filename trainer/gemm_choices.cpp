#include "trainer/gemm_choices.h"

#include <cstdlib>
#include <utility>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/output_file.h"

namespace trainer {

namespace fs = std::filesystem;

namespace {

std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value ? value : "";
}

// {} where there is no file; Error where it is damaged.
Node read(const fs::path& file) {
    if (file.empty() || !fs::exists(file)) return Node::map();
    Node all = read_json(file);
    for (const Node::Entry& machine : all.as_map())
        for (const Node::Entry& choice : machine.value.as_map()) choice.value.as_integer();
    return all;
}

}   // namespace

fs::path GemmChoices::usual_file() {
    const std::string cache = variable("XDG_CACHE_HOME"), home = variable("HOME");
    if (cache.empty() && home.empty()) return {};
    return (cache.empty() ? fs::path(home) / ".cache" : fs::path(cache)) / "trainer" / "gemm_choices.json";
}

GemmChoices::GemmChoices(fs::path file, std::string machine) : file_(std::move(file)), machine_(std::move(machine)) {
    try {
        const Node all = read(file_);
        if (const Node* mine = all.find(machine_))
            for (const Node::Entry& choice : mine->as_map())
                known_[choice.key] = static_cast<int>(choice.value.as_integer());
    } catch (const std::exception& error) {
        problem_ = format("choices of earlier runs are ignored and made again: {}", error.what());
    }
}

bool GemmChoices::keep(const std::string& product, int choice) {
    constexpr std::size_t most = 4096;   // runs of ever new shapes would fill the disk
    known_[product] = choice;
    if (file_.empty() || !writable_ || known_.size() > most) return false;
    try {
        Node all = Node::map();
        try {
            all = read(file_);
        } catch (const std::exception&) {   // damaged: replaced
        }
        if (!all.find(machine_)) all.set(machine_, Node::map());
        all.find(machine_)->set(product, choice);
        fs::create_directories(file_.parent_path());
        write_file(file_, to_json(all, {.indent = 1}) + "\n");
        return false;
    } catch (const std::exception& error) {
        problem_ = format("the fastest algorithms are not kept for later runs: {}", error.what());
        writable_ = false;
        return true;
    }
}

}   // namespace trainer
