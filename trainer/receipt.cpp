#include "trainer/receipt.h"

#include <filesystem>

#include "configs/json.h"
#include "hub/sha256.h"
#include "trainer/checkpoint/folder_files.h"
#include "trainer/version.h"

namespace trainer {

std::string receipt_text(const Inputs& inputs, const std::map<std::string, std::string>& identity,
                         const std::filesystem::path& written, const TrainingState& state) {
    Node digests = Node::map();
    for (const auto& [name, digest] : identity) digests.set(name, digest);
    Node files = Node::map();
    for (const std::string& name : files_under(written)) files.set(name, sha256_of_file(written / name));
    Node out = Node::map();
    out.set("trainer", version_text);
    out.set("steps", state.step);
    out.set("identity", std::move(digests));
    out.set("files", std::move(files));
    out.set("recipe", resolved(inputs.recipe));
    return to_json(out, {.indent = 2}) + "\n";
}

}   // namespace trainer
