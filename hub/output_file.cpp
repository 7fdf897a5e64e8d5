#include "hub/output_file.h"

#include <unistd.h>

#include <string>
#include <utility>

namespace trainer {

OutputFile::OutputFile(std::filesystem::path target) : target_(std::move(target)) {
    std::filesystem::path pattern = target_.parent_path() / (".tmp-" + target_.filename().string() + ".XXXXXX");
    file_ = OpenFile::temporary(pattern, target_.string());
    temporary_ = std::move(pattern);
}

OutputFile::~OutputFile() {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
    file_.write(bytes);
    size_ += bytes.size();
}

void OutputFile::write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

void OutputFile::commit() {
    file_.sync();
    file_.close();
    rename_path(temporary_, target_);
    temporary_.clear();
    sync_folder(target_.parent_path());
}

void write_file(const std::filesystem::path& target, std::string_view text) {
    OutputFile file(target);
    file.write(text);
    file.commit();
}

}   // namespace trainer
