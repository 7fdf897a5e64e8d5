#include <CLI/CLI.hpp>
#include <memory>

#include "trainer/commands/ranges.h"
#include "trainer/commands/verify.h"
#include "trainer/verify/receipt_check.h"

namespace trainer {

std::function<int()> define_verify_receipt(CLI::App& app) {
    struct Arguments {
        std::string file;
        bool json = false;
    };
    const auto arguments = std::make_shared<Arguments>();
    app.add_option("FILE", arguments->file, "receipt.json of a finished run, or its folder")
        ->required()
        ->check(not_blank("a receipt.json"));
    app.add_flag("--json", arguments->json, "one JSON object");
    app.footer(
        "Checks the files beside the receipt, then what this machine has in place of what the run was made\n"
        "from: a difference there is reported and is no error. Exit codes: 0 the files are what the receipt\n"
        "says, 84 a file or the receipt itself was changed, 66 there is no receipt, 65 it is no receipt.");
    return [arguments] { return report_verdict("receipt", check_receipt(arguments->file), arguments->json); };
}

}   // namespace trainer
