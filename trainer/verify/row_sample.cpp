#include "trainer/verify/row_sample.h"

#include <algorithm>
#include <fstream>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/output_file.h"

namespace trainer {

namespace {

std::string first_rows(const std::filesystem::path& file, std::int64_t rows, std::int64_t& written) {
    std::ifstream in(file, std::ios::binary);
    std::string text;
    std::int64_t count = 0;
    for (std::string line; count < rows && std::getline(in, line);) {
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        text += line + "\n";
        ++count;
    }
    written += count;
    return text;
}

}   // namespace

std::vector<std::string> sample_rows(const Recipe& recipe, std::int64_t rows, const std::filesystem::path& folder) {
    Node sources = Node::list();
    std::int64_t written = 0;
    for (std::size_t i = 0; i < recipe.data.train.size(); ++i) {
        const TrainSource& source = recipe.data.train[i];
        const std::filesystem::path file = folder / format("train_{}.jsonl", i);
        write_file(file, first_rows(source.path, rows, written));
        Node node = Node::map();
        node.set("path", file.string());
        node.set("format", source.format);
        sources.push_back(std::move(node));
    }
    const std::int64_t micro_batch = std::min(recipe.training.micro_batch.rows, written);
    return {"data.train=" + to_json(sources), "training.batch=" + std::to_string(written),
            "training.micro_batch=" + std::to_string(micro_batch)};
}

}   // namespace trainer
