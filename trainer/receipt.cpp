#include "trainer/receipt.h"

#include <gnu/libc-version.h>

#include "autograd/cpu/gemm.h"
#include "configs/error.h"
#include "configs/file.h"
#include "configs/json.h"
#include "data/regex.h"
#include "hub/sha256.h"
#include "trainer/checkpoint/folder_files.h"
#include "trainer/checkpoint/sealed_json.h"
#include "trainer/version.h"

namespace trainer {

namespace {

constexpr std::size_t largest_receipt = 64 << 20;
constexpr const char* written_by_the_run[] = {"metrics.jsonl", "recipe.yaml"};

Node to_node(const std::map<std::string, std::string>& values) {
    Node node = Node::map();
    for (const auto& [name, value] : values) node.set(name, value);
    return node;
}

std::map<std::string, std::string> texts_in(const Node& node) {
    std::map<std::string, std::string> texts;
    for (const Node::Entry& entry : node.as_map()) texts[entry.key] = entry.value.as_string();
    return texts;
}

void check_identity(const Receipt& receipt, const std::string& name) {
    for (const char* part : {"program", "recipe", "data", "base", "numerics"}) {
        const auto found = receipt.identity.find(part);
        require(found != receipt.identity.end(), Exit::bad_data, "{}: identity: key \"{}\" is missing", name, part);
        require(found->first == "numerics" || is_sha256(found->second), Exit::bad_data,
                "{}: identity: {}: expected a SHA-256 of 64 lower-case hexadecimal digits, found \"{}\"", name, part,
                found->second);
    }
}

void check_files(const Receipt& receipt, const std::string& name) {
    for (const auto& [file, digest] : receipt.files) {
        const std::filesystem::path path(file);
        bool inside = !file.empty() && path.is_relative();
        for (const auto& part : path) inside = inside && part != "..";
        require(inside, Exit::bad_data, "{}: files: \"{}\" does not lie beside the receipt", name, file);
        require(is_sha256(digest), Exit::bad_data,
                "{}: files: {}: expected a SHA-256 of 64 lower-case hexadecimal digits, found \"{}\"", name, file,
                digest);
    }
}

// A file that is another is more likely than one that was damaged.
Node json_of(const std::string& text, const std::filesystem::path& file) {
    constexpr const char* expected = "expected the receipt.json of a finished run, or the folder it lies in";
    Node node;
    try {
        node = parse_json(text, file.string());
    } catch (const Error& error) {
        fail(Exit::bad_data, "{}: is no receipt, {} ({})", file.string(), expected, error.what());
    }
    require(node.contains("identity"), Exit::bad_data, "{}: is no receipt, {}", file.string(), expected);
    return node;
}

Receipt receipt_in(const Node& node, const std::string& name) {
    Receipt receipt;
    receipt.trainer_version = node.at("trainer").as_string();
    receipt.steps = node.at("steps").as_integer();
    receipt.identity = texts_in(node.at("identity"));
    receipt.libraries = texts_in(node.at("libraries"));
    receipt.files = texts_in(node.at("files"));
    receipt.recipe = node.at("recipe");
    require(receipt.steps >= 0, Exit::bad_data, "{}: steps: expected an integer of at least 0, found {}", name,
            receipt.steps);
    require(receipt.recipe.is_map(), Exit::bad_data, "{}: recipe: expected a map, found {}", name,
            receipt.recipe.describe());
    check_identity(receipt, name);
    check_files(receipt, name);
    return receipt;
}

}   // namespace

std::map<std::string, std::string> library_versions() {
    return {{"matrix products", gemm_library()},
            {"regular expressions", regex_library()},
            {"C library", std::string("glibc ") + gnu_get_libc_version()},
            {"compiler", std::string("GCC ") + __VERSION__}};
}

std::string receipt_text(const Inputs& inputs, const std::map<std::string, std::string>& identity,
                         const std::filesystem::path& written, const TrainingState& state) {
    std::map<std::string, std::string> files;
    for (const std::string& name : files_under(written)) files[name] = sha256_of_file(written / name);
    for (const char* name : written_by_the_run)
        files[name] = sha256_of_file(std::filesystem::path(inputs.recipe.output) / name);
    Node out = Node::map();
    out.set("trainer", version_text);
    out.set("steps", state.step);
    out.set("identity", to_node(identity));
    out.set("libraries", to_node(library_versions()));
    out.set("files", to_node(files));
    out.set("recipe", resolved(inputs.recipe));
    return sealed_json(std::move(out));
}

std::vector<ListedFile> files_of(const Receipt& receipt, const std::filesystem::path& folder) {
    std::vector<ListedFile> files;
    for (const auto& [name, digest] : receipt.files) {
        std::error_code ignored;
        const bool there = std::filesystem::is_regular_file(folder / name, ignored);
        files.push_back({name, digest, there ? sha256_of_file(folder / name) : ""});
    }
    return files;
}

Receipt read_receipt(const std::filesystem::path& file) {
    const std::string text = read_text_file(file, largest_receipt);
    Receipt receipt = receipt_in(json_of(text, file), file.string());
    require(seal_holds(text), Exit::bad_checkpoint,
            "{}: its digest is not that of its text; it has been changed or damaged since it was written",
            file.string());
    return receipt;
}

}   // namespace trainer
