#include "trainer/checkpoint/writer.h"

#include <chrono>
#include <utility>

#include "comm/background_thread.h"
#include "comm/collective.h"
#include "comm/together.h"
#include "configs/error.h"
#include "configs/json.h"

namespace trainer {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string text_of(const std::vector<WrittenRanges>& written) {
    Node out = Node::list();
    for (const WrittenRanges& part : written) {
        Node ranges = Node::list();
        for (const ByteRange& range : part.ranges) {
            Node pair = Node::list();
            pair.push_back(static_cast<std::int64_t>(range.begin));
            pair.push_back(static_cast<std::int64_t>(range.end));
            ranges.push_back(std::move(pair));
        }
        Node node = Node::map();
        node.set("ranges", std::move(ranges));
        node.set("sha256", part.sha256);
        out.push_back(std::move(node));
    }
    return to_json(out);
}

ManifestPart part_of(const Node& node) {
    ManifestPart part;
    for (const Node& pair : node.at("ranges").as_list())
        part.ranges.push_back({static_cast<std::uint64_t>(pair.as_list()[0].as_integer()),
                               static_cast<std::uint64_t>(pair.as_list()[1].as_integer())});
    part.sha256 = node.at("sha256").as_string();
    return part;
}

// From what the ranks wrote of it.
ManifestFile file_of(const std::vector<std::string>& of_ranks, std::uint64_t size) {
    ManifestFile file;
    file.size = size;
    for (const std::string& text : of_ranks) {
        const Node parts = parse_json(text, "parts");
        for (const Node& part : parts.as_list()) file.parts.push_back(part_of(part));
    }
    if (file.parts.size() == 1) file.sha256 = std::exchange(file.parts, {}).front().sha256;
    return file;
}

}   // namespace

CheckpointWriter::CheckpointWriter(Communicator& ranks, std::filesystem::path run_folder, std::string run_id)
    : ranks_(ranks), run_folder_(std::move(run_folder)), run_id_(std::move(run_id)) {}

CheckpointWriter::~CheckpointWriter() {
    if (thread_.joinable()) thread_.join();
}

void CheckpointWriter::start(Content content) {
    check(!under_way_, "checkpoint: one is being written already");
    begin_seconds_ = now();
    content_ = std::move(content);
    folder_ = run_folder_ / (temporary_prefix + content_.name + "-" + run_id_);
    staged_.reset();
    together(ranks_, [&] {
        if (ranks_.rank() != 0) return;
        staged_ = std::make_unique<StagedFolder>(run_folder_, content_.name, run_id_);
        staged_->reserve(content_.layout.file_size() + content_.other_bytes);
        create_shared_safetensors(folder_ / state_file_name, content_.layout);
    });
    done_ = false;
    error_ = nullptr;
    together(ranks_, [&] { thread_ = start_background_thread("write the checkpoint", [this] { write(); }); });
    under_way_ = true;
}

void CheckpointWriter::write() {
    try {
        if (ranks_.rank() == 0) {
            content_.write_files(folder_);
            list_files(folder_, state_file_name, content_.manifest);
        }
        written_ = write_state(folder_ / state_file_name, content_.layout, *content_.state, ranks_.rank() == 0);
    } catch (...) {
        error_ = std::current_exception();
    }
    content_.state = nullptr;
    content_.write_files = nullptr;
    done_ = true;
}

std::optional<Manifest> CheckpointWriter::poll(bool wait) {
    if (!under_way_) return std::nullopt;
    if (!wait && any(ranks_, !done_)) return std::nullopt;
    thread_.join();
    under_way_ = false;
    try {
        together(ranks_, [&] {
            if (error_) std::rethrow_exception(error_);
        });
        return commit();
    } catch (...) {
        staged_.reset();
        throw;
    }
}

Manifest CheckpointWriter::commit() {
    const std::vector<std::string> parts = gather_texts(ranks_, text_of(written_));
    Manifest manifest = std::move(content_.manifest);
    together(ranks_, [&] {
        if (ranks_.rank() != 0) return;
        manifest.files[state_file_name] = file_of(parts, content_.layout.file_size());
        manifest = staged_->commit(std::move(manifest));
        staged_.reset();
    });
    seconds_ = std::max(seconds_, now() - begin_seconds_);
    return manifest;
}

}   // namespace trainer
