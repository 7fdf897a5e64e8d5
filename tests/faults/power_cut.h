#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/faults/disk_faults.h"

namespace trainer::test {

// How much of what was not flushed a power cut leaves.
enum class Unflushed { none, all, some };

// What a disk may hold when power goes in the middle of recorded calls. Only fsync promises anything: of a file, its
// data and size; of a folder, the names in it. Everything else may be there or not, each on its own: names made, moved
// and removed, and each block of data, which is then missing, or zero where the size has grown.
class PowerCut {
public:
    // `root`: the folder that was recorded, itself safe on disk.
    PowerCut(const std::vector<DiskRecord>& records, const std::string& root);

    std::size_t size() const { return steps_.size(); }     // instants: after 0, 1, … size() calls
    std::int64_t mark_before(std::size_t instant) const;   // the last mark, 0 when none
    // Builds one such disk in `folder`, which is emptied.
    void build(std::size_t instant, Unflushed unflushed, std::mt19937& random,
               const std::filesystem::path& folder) const;

private:
    // A change of names: entries that become another inode, or nothing (-1), together.
    struct Entry {
        int folder;
        std::string name;
        int inode;
    };
    struct Step {
        DiskCall call = DiskCall::open;
        std::vector<Entry> entries;
        int inode = -1;   // of data, or of what is flushed
        std::uint64_t offset = 0;
        std::uint64_t size = 0;
        std::string data;
        std::int64_t mark = -1;
    };
    using Folders = std::map<int, std::map<std::string, int>>;

    int find(const std::string& path) const;   // inode in `now_`; throws when there is none
    Entry entry(const std::string& path, int inode) const;
    void apply(const std::vector<Entry>& entries, Folders& folders) const;
    void add_names(const DiskRecord& record, Step& step);
    std::vector<bool> flushed_before(std::size_t instant) const;
    void put_data(const Step& step, bool flushed, Unflushed unflushed, std::mt19937& random, std::string& data) const;
    void write_folder(int inode, const Folders& folders, const std::map<int, std::string>& files,
                      const std::filesystem::path& path) const;

    std::string root_;
    std::vector<Step> steps_;
    Folders now_;   // while steps are made: what the running program sees
    int inodes_ = 1;
};

}   // namespace trainer::test
