#include "data/audit.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <iterator>

#include "autograd/random.h"
#include "configs/error.h"
#include "data/jsonl.h"

namespace trainer {

namespace {

constexpr std::size_t listed_errors = 20;

// One line of a file, read and encoded.
struct ReadRow {
    Node value;
    std::int64_t line = 0;
    std::string error;            // why the row cannot be used as it is written, with file and row
    std::string dropped;          // why it is left out although it is well-formed
    std::exception_ptr failure;   // anything but a fault of the row
    bool cut = false;
    std::int64_t full_length = 0;
    EncodedRow encoded;
};

// Cuts or drops by the options; the row's labels decide whether anything is left to train on.
void apply_length(ReadRow& row, const EncodeOptions& options, const std::string& where) {
    EncodedRow& encoded = row.encoded;
    row.full_length = static_cast<std::int64_t>(encoded.ids.size());
    if (row.full_length > options.max_length) {
        switch (options.overlong) {
            case Overlong::error:
                row.error = format("{}: the row has {} tokens, data.max_length is {} (data.overlong: error)", where,
                                   row.full_length, options.max_length);
                return;
            case Overlong::drop:
                row.dropped = "longer than max_length";
                return;
            case Overlong::truncate:
                row.cut = true;
                encoded.ids.resize(static_cast<std::size_t>(options.max_length));
                encoded.trained.resize(static_cast<std::size_t>(options.max_length));
                if (encoded.first_end >= options.max_length) encoded.first_end = -1;
        }
    }
    const bool any = encoded.trained.size() > 1 &&
                     std::find(encoded.trained.begin() + 1, encoded.trained.end(), 1) != encoded.trained.end();
    if (!any) row.dropped = row.cut ? "nothing to train on after truncation" : "nothing to train on";
}

void encode_row(ReadRow& row, const std::string& path, ReadFormat read, const Encoder& encoder,
                std::int64_t vocabulary) {
    const std::string where = format("{}:{}", path, row.line);
    try {
        row.encoded = encoder.encode(read(row.value));
        for (std::int32_t id : row.encoded.ids)
            require(id < vocabulary, Exit::bad_data,
                    "token id {} is beyond the model's vocabulary of {}; tokenizer and model do not belong together",
                    id, vocabulary);
        apply_length(row, encoder.options(), where);
    } catch (const Error& error) {
        if (error.code() != Exit::bad_data) throw;
        row.error = format("{}: {}", where, error.what());
    }
    row.value = Node();
}

// All rows of a source in file order, encoded in batches by several threads; `limit` 0 means all.
void for_each_row(const DataSource& source, const Encoder& encoder, std::int64_t vocabulary, std::int64_t limit,
                  const std::function<void(ReadRow&)>& visit) {
    constexpr std::size_t batch_rows = 1024;
    const ReadFormat read = data_formats().at(source.format);
    std::vector<ReadRow> batch;
    std::int64_t taken = 0;
    const auto flush = [&] {
        const auto count = static_cast<std::int64_t>(batch.size());
#pragma omp parallel for schedule(dynamic, 8)
        for (std::int64_t i = 0; i < count; ++i) {
            ReadRow& row = batch[static_cast<std::size_t>(i)];
            try {
                if (row.error.empty()) encode_row(row, source.path.string(), read, encoder, vocabulary);
            } catch (...) {   // no exception may leave the thread
                row.failure = std::current_exception();
            }
        }
        for (ReadRow& row : batch)
            if (row.failure) std::rethrow_exception(row.failure);
        for (ReadRow& row : batch) visit(row);
        batch.clear();
    };
    const auto take = [&](ReadRow&& row) {
        batch.push_back(std::move(row));
        if (batch.size() == batch_rows) flush();
        return ++taken != limit;
    };
    read_jsonl(
        source.path,
        [&](Node&& value, std::int64_t line) {
            ReadRow row;
            row.value = std::move(value);
            row.line = line;
            return take(std::move(row));
        },
        [&](const Error& error, std::int64_t line) {
            ReadRow row;
            row.line = line;
            row.error = error.what();
            return take(std::move(row));
        });
    flush();
}

// Makes of the kept rows of one source, which begin at `begin`, what an epoch holds: as many copies of each as the
// whole part of the weight says, and one more of that share of them, to the nearest row, which its fraction says: those
// with the smallest keys.
void apply_weight(double weight, std::uint64_t seed, std::size_t begin, std::vector<Example>& examples) {
    const double whole = std::floor(weight);
    const std::vector<Example> rows(std::move_iterator(examples.begin() + static_cast<std::ptrdiff_t>(begin)),
                                    std::move_iterator(examples.end()));
    examples.resize(begin);
    std::vector<std::pair<std::uint64_t, std::size_t>> order;   // (key, row)
    for (const Example& row : rows)
        order.emplace_back(random_key(seed, site_key("data", "weight"), row.source, row.row), order.size());
    std::sort(order.begin(), order.end());
    std::vector<std::int64_t> copies(rows.size(), static_cast<std::int64_t>(whole));
    const auto more = static_cast<std::size_t>((weight - whole) * static_cast<double>(rows.size()) + 0.5);
    for (std::size_t i = 0; i < more; ++i) ++copies[order[i].second];
    for (std::size_t i = 0; i < rows.size(); ++i)
        for (std::int64_t copy = 0; copy < copies[i]; ++copy) examples.emplace_back(rows[i]).occurrence = copy;
}

void count_drop(AuditReport& report, const std::string& reason, const std::string& where) {
    AuditReport::Reason& entry = report.dropped[reason];
    if (entry.count++ == 0) entry.first = where;
}

void take_row(ReadRow& row, std::int32_t source_index, const DataSource& source, AuditedData& data) {
    AuditReport& report = data.report;
    const std::string where = format("{}:{}", source.path.string(), row.line);
    report.longest_before = std::max(report.longest_before, row.full_length);
    if (!row.dropped.empty()) {
        count_drop(report, row.dropped, where);
        return;
    }
    Example example{std::move(row.encoded.ids), std::move(row.encoded.trained), source_index, row.line, 0};
    ++report.kept;
    report.cut += row.cut;
    report.tokens += static_cast<std::int64_t>(example.ids.size());
    report.targets += example.targets();
    report.longest = std::max(report.longest, static_cast<std::int64_t>(example.ids.size()));
    report.without_trained_end += row.encoded.first_end < 0;
    report.boundary_tokens += row.encoded.boundary_tokens;
    data.examples.push_back(std::move(example));
}

std::string drop_summary(const AuditReport& report) {
    std::vector<std::string> parts;
    for (const auto& [reason, entry] : report.dropped)
        parts.push_back(format("{} {} (first {})", entry.count, reason, entry.first));
    return join(parts);
}

void judge_whole(const std::vector<DataSource>& sources, AuditedData& data) {
    AuditReport& report = data.report;
    std::vector<std::string> names;
    for (const DataSource& source : sources) names.push_back(source.path.string());
    const std::string where = join(names);
    require(report.rows > 0, Exit::bad_data, "{}: there are no rows", where);
    require(report.kept > 0, Exit::bad_data, "{}: all {} rows are dropped: {}", where, report.rows,
            drop_summary(report));
    require(!data.examples.empty(), Exit::bad_data, "{}: the weights leave no row", where);
    require(
        report.without_trained_end < report.kept, Exit::bad_data,
        "{}: no row trains an EOS or end-of-turn token, so the model would never learn to stop; check data.template, "
        "data.eos_token and data.max_length",
        where);
    if (report.without_trained_end > 0)
        report.warnings.push_back(format("{}: {} of {} rows train no EOS or end-of-turn token", where,
                                         report.without_trained_end, report.kept));
    if (report.boundary_tokens > 0)
        report.warnings.push_back(format("{}: {} tokens straddle the edge of a trained span and are not trained", where,
                                         report.boundary_tokens));
}

}   // namespace

AuditedData audit(const std::vector<DataSource>& sources, const Encoder& encoder, std::int64_t vocabulary,
                  std::uint64_t seed) {
    AuditedData data;
    std::vector<Error> errors;
    std::int64_t bad_rows = 0;
    for (std::size_t i = 0; i < sources.size(); ++i) {
        const std::size_t begin = data.examples.size();
        for_each_row(sources[i], encoder, vocabulary, 0, [&](ReadRow& row) {
            ++data.report.rows;
            if (row.error.empty()) {
                take_row(row, static_cast<std::int32_t>(i), sources[i], data);
            } else if (encoder.options().on_bad_row == OnBadRow::skip) {
                count_drop(data.report, "cannot be used as written", row.error);
            } else {
                ++bad_rows;
                if (errors.size() < listed_errors) errors.emplace_back(Exit::bad_data, row.error);
            }
        });
        if (sources[i].weight != 1) apply_weight(sources[i].weight, seed, begin, data.examples);
    }
    if (!errors.empty()) {
        if (bad_rows > static_cast<std::int64_t>(errors.size()))
            errors.emplace_back(Exit::bad_data,
                                format("… and {} more bad rows", bad_rows - static_cast<std::int64_t>(errors.size())));
        throw Errors(std::move(errors));
    }
    judge_whole(sources, data);
    return data;
}

void preview(const std::vector<DataSource>& sources, const Encoder& encoder, std::int64_t vocabulary,
             std::int64_t limit, const std::function<void(const PreviewRow&)>& show) {
    std::int64_t shown = 0;
    for (std::size_t i = 0; i < sources.size() && (limit == 0 || shown < limit); ++i)
        for_each_row(sources[i], encoder, vocabulary, limit == 0 ? 0 : limit - shown, [&](ReadRow& row) {
            ++shown;
            PreviewRow out;
            out.source = static_cast<std::int32_t>(i);
            out.row = row.line;
            out.dropped = row.error.empty() ? row.dropped : row.error;
            out.encoded = std::move(row.encoded);
            show(out);
        });
}

Node AuditReport::to_node() const {
    Node out = Node::map();
    out.set("rows", rows);
    out.set("kept", kept);
    out.set("cut", cut);
    out.set("tokens", tokens);
    out.set("trained_tokens", targets);
    out.set("longest", longest);
    out.set("longest_before_truncation", longest_before);
    out.set("rows_without_trained_end", without_trained_end);
    out.set("boundary_tokens", boundary_tokens);
    Node reasons = Node::map();
    for (const auto& [reason, entry] : dropped) {
        Node one = Node::map();
        one.set("rows", entry.count);
        one.set("first", entry.first);
        reasons.set(reason, std::move(one));
    }
    out.set("dropped", std::move(reasons));
    Node notes = Node::list();
    for (const std::string& warning : warnings) notes.push_back(warning);
    out.set("warnings", std::move(notes));
    return out;
}

}   // namespace trainer
