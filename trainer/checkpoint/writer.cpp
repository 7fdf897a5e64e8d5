#include "trainer/checkpoint/writer.h"

#include <chrono>
#include <csignal>
#include <system_error>
#include <utility>

#include "comm/collective.h"
#include "comm/together.h"
#include "configs/error.h"
#include "configs/json.h"

namespace trainer {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string text_of(const WrittenRanges& written) {
    Node ranges = Node::list();
    for (const ByteRange& range : written.ranges) {
        Node pair = Node::list();
        pair.push_back(static_cast<std::int64_t>(range.begin));
        pair.push_back(static_cast<std::int64_t>(range.end));
        ranges.push_back(std::move(pair));
    }
    Node out = Node::map();
    out.set("ranges", std::move(ranges));
    out.set("sha256", written.sha256);
    return to_json(out);
}

ManifestPart part_of(const std::string& text) {
    const Node node = parse_json(text, "part");
    ManifestPart part;
    for (const Node& pair : node.at("ranges").as_list())
        part.ranges.push_back({static_cast<std::uint64_t>(pair.as_list()[0].as_integer()),
                               static_cast<std::uint64_t>(pair.as_list()[1].as_integer())});
    part.sha256 = node.at("sha256").as_string();
    return part;
}

ManifestFile file_of(const std::vector<std::string>& parts, std::uint64_t size) {
    ManifestFile file;
    file.size = size;
    for (const std::string& text : parts) {
        ManifestPart part = part_of(text);
        if (!part.ranges.empty()) file.parts.push_back(std::move(part));
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
    together(ranks_, [&] { start_thread(); });
    under_way_ = true;
}

void CheckpointWriter::start_thread() {
    sigset_t all, before;   // signals are for the loop's thread
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        thread_ = std::thread([this] { write(); });
    } catch (const std::system_error& error) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        fail(Exit::system, "no thread can be started to write the checkpoint: {}", error.what());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void CheckpointWriter::write() {
    try {
        if (ranks_.rank() == 0) {
            content_.write_files(folder_);
            list_files(folder_, state_file_name, content_.manifest);
        }
        written_ = write_state(folder_ / state_file_name, content_.layout, content_.state, ranks_.rank() == 0);
    } catch (...) {
        error_ = std::current_exception();
    }
    content_.state = {};
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
