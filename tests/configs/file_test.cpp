#include "configs/file.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "configs/error.h"
#include "tests/support/tiny_model.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

Error error_of(const fs::path& path, std::size_t limit = SIZE_MAX) {
    try {
        read_text_file(path, limit);
    } catch (const Error& error) {
        return error;
    }
    return {Exit::done, ""};
}

class InputFileTest : public testing::Test {
protected:
    void SetUp() override { ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0); }
    // Writes into the pipe, piece by piece, after a while each.
    std::thread writer(std::vector<std::string> pieces, milliseconds pause) const {
        return std::thread([this, pieces = std::move(pieces), pause] {
            std::this_thread::sleep_for(pause);
            std::ofstream file(pipe);
            for (const std::string& piece : pieces) {
                file << piece << std::flush;
                std::this_thread::sleep_for(pause);
            }
        });
    }

    ScratchFolder folder;
    const fs::path pipe = folder / "pipe";
};

TEST_F(InputFileTest, ReadsAFileToItsEnd) {
    const std::string text(200000, 'x');
    put_text(folder / "file", text + "\n");
    EXPECT_EQ(read_text_file(folder / "file"), text + "\n");
    EXPECT_EQ(read_text_file(folder / "file", text.size() + 1).size(), text.size() + 1);
    put_text(folder / "empty", "");
    EXPECT_EQ(read_text_file(folder / "empty"), "");
    const Error error = error_of(folder / "file", text.size());
    EXPECT_EQ(error.code(), Exit::bad_data);
    EXPECT_EQ(error.what(),
              (folder / "file").string() + ": the file is larger than 200000 bytes, the most that is read here");
}

TEST_F(InputFileTest, ReadsAPipeToItsEnd) {
    for (const milliseconds pause : {milliseconds(0), milliseconds(150)}) {   // who is first?
        std::thread thread = writer({"model: ", std::string(100000, 'x'), " end"}, pause);
        EXPECT_EQ(read_text_file(pipe), "model: " + std::string(100000, 'x') + " end");
        thread.join();
        thread = writer({}, pause);   // one who has nothing to say
        EXPECT_EQ(read_text_file(pipe), "");
        thread.join();
    }
}

TEST_F(InputFileTest, APipeThatNobodyWritesToIsGivenUp) {
    const auto begin = std::chrono::steady_clock::now();
    const Error error = error_of(pipe);
    EXPECT_EQ(error.code(), Exit::no_input);
    EXPECT_EQ(error.what(), pipe.string() + ": is a pipe that nobody writes to");
    const auto granularity = std::chrono::milliseconds(10);   // of the system's waiting
    EXPECT_GE(std::chrono::steady_clock::now() - begin + granularity, InputFile::patience);
}

TEST_F(InputFileTest, RefusesWhatIsNoFile) {
    const std::string name = (folder / "socket").string();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, sizeof address.sun_path - 1);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::pair<fs::path, const char*> cases[] = {
        {folder.path(), "expected a file, found a folder"}, {folder / "none", "there is no such file"},
        {folder / "none/file", "there is no such file"},    {"/dev/null", "expected a file, found a device"},
        {"/dev/zero", "expected a file, found a device"},   {name, "expected a file, found a socket"}};
    for (const auto& [path, message] : cases) {
        const Error error = error_of(path);
        EXPECT_EQ(error.code(), Exit::no_input) << path;
        EXPECT_EQ(error.what(), path.string() + ": " + message);
    }
    ::close(socket);
}

}   // namespace
}   // namespace trainer::test
