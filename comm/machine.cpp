#include "comm/machine.h"

#include <algorithm>
#include <vector>

#include "comm/collective.h"
#include "comm/socket.h"
#include "configs/error.h"
#include "configs/file.h"

namespace trainer {

std::string machine_name(const std::filesystem::path& root) {
    try {
        return read_text_file(root / "proc/sys/kernel/random/boot_id");
    } catch (const Error&) {
        return own_host_name();
    }
}

Neighbourhood neighbourhood(Communicator& ranks, const std::filesystem::path& root) {
    if (ranks.size() == 1) return {};
    const std::string machine = machine_name(root);
    const std::vector<std::string> all = gather_texts(ranks, machine);
    return {static_cast<int>(std::count(all.begin(), all.begin() + ranks.rank(), machine)),
            static_cast<int>(std::count(all.begin(), all.end(), machine))};
}

}   // namespace trainer
