#include "tests/faults/power_cut.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

namespace trainer::test {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t block = 64;   // stands for 4 KiB: the files of the tests are as much smaller

}   // namespace

PowerCut::PowerCut(const std::vector<DiskRecord>& records, const std::string& root) : root_(root) {
    now_[0];
    for (const DiskRecord& record : records) {
        Step step{record.call, {}, -1, record.offset, record.size, record.data, record.mark};
        if (record.mark < 0) {
            add_names(record, step);
            if (step.entries.empty()) step.inode = find(record.path);
            apply(step.entries, now_);
        }
        if (record.call != DiskCall::close || record.mark >= 0) steps_.push_back(std::move(step));
    }
}

int PowerCut::find(const std::string& path) const {
    int inode = 0;
    for (const fs::path& name : fs::path(path).lexically_relative(root_)) {
        if (name == ".") continue;
        const auto folder = now_.find(inode);
        if (folder == now_.end() || !folder->second.contains(name)) throw std::logic_error("no such file: " + path);
        inode = folder->second.at(name);
    }
    return inode;
}

PowerCut::Entry PowerCut::entry(const std::string& path, int inode) const {
    return {find(fs::path(path).parent_path()), fs::path(path).filename(), inode};
}

void PowerCut::add_names(const DiskRecord& record, Step& step) {
    switch (record.call) {
        case DiskCall::make_folder:
            now_[inodes_];
            [[fallthrough]];
        case DiskCall::create:
            step.entries = {entry(record.path, inodes_++)};
            return;
        case DiskCall::unlink:
            step.entries = {entry(record.path, -1)};
            return;
        case DiskCall::rename:
            step.entries = {entry(record.target, find(record.path)), entry(record.path, -1)};
            return;
        case DiskCall::exchange:
            step.entries = {entry(record.target, find(record.path)), entry(record.path, find(record.target))};
            return;
        default:
            return;
    }
}

void PowerCut::apply(const std::vector<Entry>& entries, Folders& folders) const {
    for (const Entry& entry : entries) {
        if (entry.inode < 0)
            folders[entry.folder].erase(entry.name);
        else
            folders[entry.folder][entry.name] = entry.inode;
    }
}

std::int64_t PowerCut::mark_before(std::size_t instant) const {
    std::int64_t mark = 0;
    for (std::size_t i = 0; i < instant; ++i) mark = std::max(mark, steps_[i].mark);
    return mark;
}

// A change of data is safe when its file was flushed later, one of names when the (first) folder was.
std::vector<bool> PowerCut::flushed_before(std::size_t instant) const {
    std::vector<bool> flushed(instant);
    std::map<int, bool> later;
    for (std::size_t i = instant; i-- > 0;) {
        const Step& step = steps_[i];
        if (step.call == DiskCall::sync) later[step.inode] = true;
        flushed[i] = later[step.entries.empty() ? step.inode : step.entries[0].folder];
    }
    return flushed;
}

void PowerCut::put_data(const Step& step, bool flushed, Unflushed unflushed, std::mt19937& random,
                        std::string& data) const {
    const auto kept = [&] {
        return flushed || unflushed == Unflushed::all || (unflushed == Unflushed::some && random() % 2 == 0);
    };
    if (step.call == DiskCall::truncate && kept()) data.resize(step.size);
    if (step.call == DiskCall::allocate && kept()) data.resize(std::max<std::size_t>(data.size(), step.size));
    if (step.call != DiskCall::write) return;
    const std::size_t end = step.offset + step.data.size();
    if (kept()) data.resize(std::max(data.size(), end));
    for (std::size_t at = step.offset; at < end;) {
        const std::size_t next = std::min(end, (at / block + 1) * block);
        if (kept()) {
            data.resize(std::max(data.size(), next));
            data.replace(at, next - at, step.data, at - step.offset, next - at);
        }
        at = next;
    }
}

void PowerCut::write_folder(int inode, const Folders& folders, const std::map<int, std::string>& files,
                            const fs::path& path) const {
    const auto names = folders.find(inode);
    if (names == folders.end()) return;
    for (const auto& [name, child] : names->second) {
        if (now_.contains(child)) {
            fs::create_directory(path / name);
            write_folder(child, folders, files, path / name);
        } else {
            const auto data = files.find(child);
            std::ofstream file(path / name, std::ios::binary);
            if (data != files.end()) file << data->second;
        }
    }
}

void PowerCut::build(std::size_t instant, Unflushed unflushed, std::mt19937& random, const fs::path& folder) const {
    const std::vector<bool> flushed = flushed_before(instant);
    Folders folders;
    std::map<int, std::string> files;
    for (std::size_t i = 0; i < instant; ++i) {
        const Step& step = steps_[i];
        if (step.entries.empty()) {
            if (step.inode >= 0) put_data(step, flushed[i], unflushed, random, files[step.inode]);
        } else if (flushed[i] || unflushed == Unflushed::all || (unflushed == Unflushed::some && random() % 2 == 0)) {
            apply(step.entries, folders);
        }
    }
    fs::remove_all(folder);
    fs::create_directory(folder);
    write_folder(0, folders, files, folder);
}

}   // namespace trainer::test
