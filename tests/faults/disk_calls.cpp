// The calls themselves, under the names the C library gives them.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdarg>

#include "tests/faults/disk_watch.h"

using namespace trainer::test;

namespace {

mode_t mode_in(int flags, va_list arguments) { return flags & O_CREAT ? va_arg(arguments, mode_t) : 0; }

int open_under(const char* name, const char* path, int flags, mode_t mode) {
    const auto real = next<int (*)(const char*, int, mode_t)>(name);
    return open_call(
        flags, [&] { return absolute(AT_FDCWD, path); }, [&] { return real(path, flags, mode); });
}

int openat_under(const char* name, int folder, const char* path, int flags, mode_t mode) {
    const auto real = next<int (*)(int, const char*, int, mode_t)>(name);
    return open_call(
        flags, [&] { return absolute(folder, path); }, [&] { return real(folder, path, flags, mode); });
}

int mkostemp_under(const char* name, char* pattern, int flags) {
    const auto real = next<int (*)(char*, int)>(name);
    return open_call(
        flags | O_CREAT | O_RDWR, [&] { return absolute(AT_FDCWD, pattern); }, [&] { return real(pattern, flags); });
}

ssize_t pwrite_under(const char* name, int number, const void* bytes, size_t size, off_t offset) {
    const auto real = next<ssize_t (*)(int, const void*, size_t, off_t)>(name);
    return write_call(number, bytes, size, static_cast<std::uint64_t>(offset),
                      [&](size_t part) { return real(number, bytes, part, offset); });
}

int allocate_under(const char* name, int number, off_t offset, off_t size) {
    const auto real = next<int (*)(int, off_t, off_t)>(name);
    return change_call(
        number, DiskCall::allocate, static_cast<std::uint64_t>(offset + size),
        [&] { return real(number, offset, size); }, [](int reason) { return reason; });
}

DiskRecord on_path(DiskCall call, int folder, const char* path) {
    return {call, armed ? absolute(folder, path) : "", "", 0, 0, "", -1};
}

}   // namespace

extern "C" {

int open(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_in(flags, arguments);
    va_end(arguments);
    return open_under("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_in(flags, arguments);
    va_end(arguments);
    return open_under("open64", path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_in(flags, arguments);
    va_end(arguments);
    return openat_under("openat", folder, path, flags, mode);
}

int mkostemp(char* pattern, int flags) { return mkostemp_under("mkostemp", pattern, flags); }
int mkostemp64(char* pattern, int flags) { return mkostemp_under("mkostemp64", pattern, flags); }

ssize_t write(int number, const void* bytes, size_t size) {
    static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
    return write_call(number, bytes, size, {}, [&](size_t part) { return real(number, bytes, part); });
}

ssize_t pwrite(int number, const void* bytes, size_t size, off_t offset) {
    return pwrite_under("pwrite", number, bytes, size, offset);
}
ssize_t pwrite64(int number, const void* bytes, size_t size, off64_t offset) {
    return pwrite_under("pwrite64", number, bytes, size, offset);
}

int fsync(int number) {
    static const auto real = next<int (*)(int)>("fsync");
    return change_call(
        number, DiskCall::sync, 0, [&] { return real(number); }, by_errno);
}

int posix_fallocate(int number, off_t offset, off_t size) {
    return allocate_under("posix_fallocate", number, offset, size);
}
int posix_fallocate64(int number, off64_t offset, off64_t size) {
    return allocate_under("posix_fallocate64", number, offset, size);
}

int ftruncate(int number, off_t size) noexcept {
    static const auto real = next<int (*)(int, off_t)>("ftruncate");
    return change_call(
        number, DiskCall::truncate, static_cast<std::uint64_t>(size), [&] { return real(number, size); }, by_errno);
}

int close(int number) {
    static const auto real = next<int (*)(int)>("close");
    return close_call(number, [&] { return real(number); });
}

int closedir(DIR* folder) {
    static const auto real = next<int (*)(DIR*)>("closedir");
    return close_call(::dirfd(folder), [&] { return real(folder); });
}

int rename(const char* from, const char* to) noexcept {
    static const auto real = next<int (*)(const char*, const char*)>("rename");
    DiskRecord made = on_path(DiskCall::rename, AT_FDCWD, from);
    if (armed) made.target = absolute(AT_FDCWD, to);
    return path_call(std::move(made), [&] { return real(from, to); });
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
    static const auto real = next<int (*)(int, const char*, int, const char*, unsigned)>("renameat2");
    DiskRecord made = on_path(flags & RENAME_EXCHANGE ? DiskCall::exchange : DiskCall::rename, from_folder, from);
    if (armed) made.target = absolute(to_folder, to);
    return path_call(std::move(made), [&] { return real(from_folder, from, to_folder, to, flags); });
}

int unlink(const char* path) noexcept {
    static const auto real = next<int (*)(const char*)>("unlink");
    return path_call(on_path(DiskCall::unlink, AT_FDCWD, path), [&] { return real(path); });
}

int unlinkat(int folder, const char* path, int flags) noexcept {
    static const auto real = next<int (*)(int, const char*, int)>("unlinkat");
    return path_call(on_path(DiskCall::unlink, folder, path), [&] { return real(folder, path, flags); });
}

int rmdir(const char* path) noexcept {
    static const auto real = next<int (*)(const char*)>("rmdir");
    return path_call(on_path(DiskCall::unlink, AT_FDCWD, path), [&] { return real(path); });
}

int remove(const char* path) noexcept {
    static const auto real = next<int (*)(const char*)>("remove");
    return path_call(on_path(DiskCall::unlink, AT_FDCWD, path), [&] { return real(path); });
}

int mkdir(const char* path, mode_t mode) noexcept {
    static const auto real = next<int (*)(const char*, mode_t)>("mkdir");
    return path_call(on_path(DiskCall::make_folder, AT_FDCWD, path), [&] { return real(path, mode); });
}

}   // extern "C"
