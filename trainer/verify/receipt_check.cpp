#include "trainer/verify/receipt_check.h"

#include <optional>

#include "comm/solo.h"
#include "configs/error.h"
#include "hub/sha256.h"
#include "trainer/device.h"
#include "trainer/identity.h"
#include "trainer/receipt.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

// A thing that the receipt names, and what is here in its place.
struct Finding {
    std::string name;
    std::string expected;
    std::string found;    // "" when nothing could be found
    std::string reason;   // why not
    std::string word() const {
        return found.empty() ? (reason == "missing" ? reason : "unknown") : found == expected ? "equal" : "differs";
    }
};

using Findings = std::vector<Finding>;

Findings check_files(const Receipt& receipt, const fs::path& folder) {
    Findings findings;
    for (const ListedFile& file : files_of(receipt, folder))
        findings.push_back({file.name, file.expected, file.found, file.found.empty() ? "missing" : ""});
    return findings;
}

// What the work gives, or why it cannot be done here.
template <typename Work>
void look(Findings& findings, const Receipt& receipt, const std::string& name, Work&& work) {
    Finding& finding = findings.emplace_back(Finding{name, receipt.identity.at(name), "", ""});
    try {
        finding.found = work();
    } catch (const Error& error) {
        finding.reason = error.what();
    }
}

Findings check_environment(const Receipt& receipt) {
    Findings findings;
    const auto recipe = [&] {
        Complaints complaints;
        Recipe read = read_recipe(receipt.recipe, complaints);
        complaints.raise();
        return read;
    };
    look(findings, receipt, "program", [] { return program_digest(); });
    look(findings, receipt, "numerics", [&] { return numerics_fingerprint(open_place(recipe(), *make_solo())); });
    look(findings, receipt, "recipe", [&] { return recipe_digest(recipe()); });
    look(findings, receipt, "base", [&] {
        const Recipe read = recipe();
        return base_digest(open_base_model(read.model.base, read.model.revision, read.model.config,
                                           read.data.chat_template, read.data.eos_token.value_or("")),
                           read.peft);
    });
    look(findings, receipt, "data", [&] { return data_digest(check_inputs(recipe(), [] {})); });
    const auto here = library_versions();
    for (const auto& [name, version] : receipt.libraries) {
        const auto found = here.find(name);
        findings.push_back({name, version, found == here.end() ? "" : found->second, "not known to this program"});
    }
    return findings;
}

std::string shown(const std::string& text) { return is_sha256(text) ? text.substr(0, 12) : text; }

std::string table_of(const std::string& head, const Findings& findings) {
    std::vector<std::vector<std::string>> rows = {{head, "receipt", "here", ""}};
    for (const Finding& one : findings)
        rows.push_back({one.name, shown(one.expected), one.found.empty() ? "-" : shown(one.found), one.word()});
    std::string text = table_text(rows);
    for (const Finding& one : findings)
        if (one.word() == "unknown") text += format("{} is unknown here: {}\n", one.name, one.reason);
    return text;
}

Node node_of(const Findings& findings) {
    Node list = Node::list();
    for (const Finding& one : findings) {
        Node node = Node::map();
        node.set("name", one.name);
        node.set("receipt", one.expected);
        node.set("here", one.found.empty() ? Node() : Node(one.found));
        node.set("result", one.word());
        if (one.word() == "unknown") node.set("reason", one.reason);
        list.push_back(std::move(node));
    }
    return list;
}

std::vector<std::string> names_that(const Findings& findings, const std::string& word, bool not_it = false) {
    std::vector<std::string> names;
    for (const Finding& one : findings)
        if ((one.word() == word) != not_it) names.push_back(one.name);
    return names;
}

std::string conclusion(const Findings& environment) {
    const auto others = names_that(environment, "equal", true);
    if (others.empty()) return "all that the result depends on is the same here\n";
    return format("not the same here: {}; the same run may end in other bits\n", join(others));
}

}   // namespace

Verdict check_receipt(const fs::path& file) {
    std::error_code ignored;
    const fs::path path = fs::is_directory(file, ignored) ? file / receipt_name : file;
    const Receipt receipt = read_receipt(path);
    const Findings files = check_files(receipt, path.parent_path());
    const Findings environment = check_environment(receipt);

    Verdict verdict;
    verdict.tables =
        format("{}: {} steps by trainer {}\n{}\n{}{}", path.string(), receipt.steps, receipt.trainer_version,
               table_of("file", files), table_of("made from", environment), conclusion(environment));
    verdict.json = Node::map();
    verdict.json.set("files", node_of(files));
    verdict.json.set("environment", node_of(environment));
    verdict.json.set("reproducible_here", names_that(environment, "equal", true).empty());
    for (const auto& [word, phrase] :
         {std::pair("differs", "other bytes than the run wrote"), std::pair("missing", "no such file")})
        for (const std::string& name : names_that(files, word))
            verdict.failure +=
                format("{}{}: {}", verdict.failure.empty() ? "" : "\n", (path.parent_path() / name).string(), phrase);
    if (!verdict.failure.empty()) verdict.code = Exit::bad_checkpoint;
    return verdict;
}

}   // namespace trainer
