#pragma once

#include <string>
#include <utility>
#include <vector>

#include "trainer/recipe_values.h"
#include "trainer/verify/run_record.h"

namespace trainer {

// Rows of words, the first one the head, as columns of equal width.
std::string table_text(const std::vector<std::vector<std::string>>& rows);

// Several runs against one, to the bit.
class BitComparison {
public:
    explicit BitComparison(RunRecord reference) : reference_(std::move(reference)) {}

    void add(RunRecord run) { runs_.push_back(std::move(run)); }
    void leave_out(const std::string& name, const std::string& reason) { left_out_.emplace_back(name, reason); }

    const RunRecord& reference() const { return reference_; }
    bool has_runs() const { return !runs_.empty(); }   // to be compared with it
    bool equal() const;
    std::string table_by_part() const;   // what, a column a run, equal
    std::string table_by_run() const;    // run, a column a part, equal; then what was left out
    std::string differences() const;     // a line for every run that differs
    Node to_node() const;                // {reference, runs, left_out}

private:
    RunRecord reference_;
    std::vector<RunRecord> runs_;
    std::vector<std::pair<std::string, std::string>> left_out_;
};

// What a verification has to say.
struct Verdict {
    std::string tables;
    Node json;             // without "verify" and "equal"
    std::string failure;   // "": all is equal
    Exit code = Exit::done;
};

// For bits that differ: internal where they are promised, else bad_recipe. `promised`: whether the recipe's kind of
// sums promises them; `what` continues "the bits differ with …".
void fail_bits(Verdict& verdict, bool promised, Determinism sums, const std::string& what);

// Prints a verdict, for people or as one JSON object, and gives the exit code.
int report_verdict(const std::string& name, const Verdict& verdict, bool as_json);

}   // namespace trainer
