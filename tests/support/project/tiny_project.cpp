// tiny_project FOLDER: a tiny model, chats and a recipe of 30 steps, for scripts that run the program.
#include <cstdio>

#include "tests/support/tiny_model.h"

int main(int count, char** words) {
    using namespace trainer::test;
    if (count != 2) {
        std::fputs("usage: tiny_project FOLDER\n", stderr);
        return 64;
    }
    std::filesystem::create_directories(words[1]);
    write_tiny_project(words[1], "steps: 30", 7, 4);
}
