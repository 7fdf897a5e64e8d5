#include "tests/trainer/mistakes/mistake.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "configs/json.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/program.h"

namespace trainer::test {

namespace fs = std::filesystem;

namespace {

// Every path below the folder with its content ("/" for what is no file).
std::map<std::string, std::string> files_of(const fs::path& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        files[entry.path().lexically_relative(folder).string()] =
            entry.is_regular_file() ? get_text(entry.path()) : "/";
    return files;
}

std::string without_last_break(std::string text) {
    if (text.ends_with('\n')) text.pop_back();
    return text;
}

}   // namespace

std::string setup_recipe() {
    return "model: {base: ./model}\n"
           "data:\n"
           "  train: {path: train.jsonl, format: messages}\n"
           "  valid: {path: valid.jsonl, format: messages}\n"
           "  max_length: 256\n"
           "peft: {method: lora, rank: 4}\n"
           "training: {steps: 3, batch: 4, micro_batch: 2, precision: f32}\n"
           "output: out\n";
}

void write_setup(const fs::path& folder) {
    write_tiny_model(folder / "model");
    put_text(folder / "train.jsonl", tiny_chats(12));
    put_text(folder / "valid.jsonl", tiny_chats(4, 9));
    put_text(folder / "recipe.yaml", setup_recipe());
}

std::function<void(const fs::path&)> with_file(const std::string& name, const std::string& text) {
    return [=](const fs::path& folder) { put_text(folder / name, text); };
}

std::function<void(const fs::path&)> without(const std::string& name) {
    return [=](const fs::path& folder) { fs::remove_all(folder / name); };
}

std::function<void(const fs::path&)> with_recipe(const std::string& from, const std::string& to) {
    return [=](const fs::path& folder) {
        std::string text = setup_recipe();
        const std::size_t at = text.find(from);
        ASSERT_NE(at, std::string::npos) << from;
        put_text(folder / "recipe.yaml", text.replace(at, from.size(), to));
    };
}

std::function<void(const fs::path&)> with_key(const std::string& file, const std::string& key, Node value) {
    return [=](const fs::path& folder) {
        Node document = read_json(folder / file);
        if (value.is_null())
            document.erase(key);
        else
            document.set(key, value);
        put_text(folder / file, to_json(document));
    };
}

void check_mistakes(const std::vector<Mistake>& mistakes) {
    const ScratchFolder setup;
    write_setup(setup.path());
    for (const Mistake& mistake : mistakes) {
        SCOPED_TRACE(mistake.name);
        const ScratchFolder scratch;
        const fs::path folder = scratch / "w";
        fs::permissions(scratch.path(), fs::perms(0755));   // for the user nobody
        fs::copy(setup.path(), folder, fs::copy_options::recursive);
        fs::permissions(folder, fs::perms(0755));
        if (mistake.spoil) mistake.spoil(folder);
        const auto before = files_of(folder);
        const ProgramResult result = run_program(mistake.arguments, folder,
                                                 {.input = mistake.input,
                                                  .environment = mistake.environment,
                                                  .as_nobody = mistake.as_nobody && ::geteuid() == 0});
        EXPECT_EQ(result.code, mistake.code);
        EXPECT_EQ(without_last_break(result.err), mistake.message);
        if (mistake.after_plan)
            EXPECT_EQ(result.out.find("step 1/"), std::string::npos) << result.out;
        else
            EXPECT_EQ(result.out, "");
        const auto after = files_of(folder);
        for (const auto& [name, content] : after) {
            const auto known = before.find(name);
            EXPECT_TRUE(known != before.end()) << name << " was left behind";
            EXPECT_TRUE(known == before.end() || known->second == content) << name << " has changed";
        }
        for (const auto& [name, content] : before) EXPECT_TRUE(after.contains(name)) << name << " is gone";
    }
}

}   // namespace trainer::test
