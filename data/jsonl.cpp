#include "data/jsonl.h"

#include <fstream>
#include <string>
#include <string_view>

#include "configs/error.h"
#include "configs/json.h"

namespace trainer {

void read_jsonl(const std::filesystem::path& path, const std::function<bool(Node&& value, std::int64_t line)>& row,
                const std::function<bool(const Error& error, std::int64_t line)>& bad) {
    require(std::filesystem::exists(path), Exit::no_input, "{}: there is no such file", path.string());
    require(!std::filesystem::is_directory(path), Exit::no_input, "{}: is a folder, expected a JSON-lines file",
            path.string());
    std::ifstream in(path, std::ios::binary);
    require(in.is_open(), Exit::no_input, "{}: cannot be opened for reading", path.string());
    std::string text;
    std::int64_t line = 0;
    while (std::getline(in, text)) {
        ++line;
        std::string_view rest = text;
        if (line == 1 && rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
        if (rest.ends_with('\r')) rest.remove_suffix(1);
        if (rest.find_first_not_of(" \t") == std::string_view::npos) continue;
        Node value;
        try {
            value = parse_json(rest, path.string(), static_cast<int>(line));
            require(value.is_map(), Exit::bad_data, "{}:{}: expected a JSON object, found {}", path.string(), line,
                    value.describe());
        } catch (const Error& error) {
            if (error.code() != Exit::bad_data) throw;
            if (!bad(error, line)) return;
            continue;
        }
        if (!row(std::move(value), line)) return;
    }
    require(!in.bad(), Exit::io, "{}: reading failed after line {}", path.string(), line);
}

}   // namespace trainer
