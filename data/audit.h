#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "configs/node.h"
#include "data/encoder.h"
#include "data/example.h"

namespace trainer {

struct DataSource {
    std::filesystem::path path;
    std::string format;    // name of a data format
    double weight = 1.0;   // copies of each row per epoch; a fraction takes that share of the rows
};

// What happened to the rows of a dataset.
struct AuditReport {
    std::int64_t rows = 0;
    std::int64_t kept = 0;
    std::int64_t cut = 0;      // kept, but truncated
    std::int64_t tokens = 0;   // of kept rows
    std::int64_t targets = 0;
    std::int64_t longest = 0;               // tokens, after truncation
    std::int64_t longest_before = 0;        // tokens, before truncation
    std::int64_t without_trained_end = 0;   // kept rows that train no EOS or end of turn
    std::int64_t boundary_tokens = 0;
    struct Reason {
        std::int64_t count = 0;
        std::string first;   // "train.jsonl:17: …"
    };
    std::map<std::string, Reason> dropped;   // by reason
    std::vector<std::string> warnings;

    Node to_node() const;   // for `trainer check --json`
};

struct AuditedData {
    std::vector<Example> examples;
    AuditReport report;
};

// Reads every row of the sources, encodes it (several threads, order kept), truncates or drops, and counts.
// Errors(bad_data) with file:row for bad rows when options say stop (at most 20 are listed), for an empty dataset, for
// one whose rows are all dropped, and for one in which no row trains an end of text. `vocabulary`: ids must be below.
AuditedData audit(const std::vector<DataSource>& sources, const Encoder& encoder, std::int64_t vocabulary,
                  std::uint64_t seed);

// One row of a source as `trainer preview` shows it.
struct PreviewRow {
    std::int32_t source = 0;
    std::int64_t row = 0;
    std::string dropped;   // reason, "" when kept
    EncodedRow encoded;    // after truncation of ids and trained
};
// The first `limit` rows (0: all) in file order; also of datasets that audit would refuse.
void preview(const std::vector<DataSource>& sources, const Encoder& encoder, std::int64_t vocabulary,
             std::int64_t limit, const std::function<void(const PreviewRow&)>& show);

}   // namespace trainer
