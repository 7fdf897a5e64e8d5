#include "data/jsonl.h"

#include <string>
#include <string_view>
#include <vector>

#include "configs/error.h"
#include "configs/file.h"
#include "configs/json.h"

namespace trainer {

namespace {

class Lines {
public:
    explicit Lines(const std::filesystem::path& path) : file_(path), buffer_(1 << 18) {}

    // The next line without its end; false when there is none.
    bool next(std::string& line) {
        line.clear();
        while (!rest_.empty() || fill()) {
            const std::size_t length = rest_.find('\n');
            line += rest_.substr(0, length);
            if (length != rest_.npos) {
                rest_.remove_prefix(length + 1);
                return true;
            }
            rest_ = {};
        }
        return !line.empty();
    }

private:
    bool fill() {
        rest_ = {buffer_.data(), file_.read(buffer_)};
        return !rest_.empty();
    }

    InputFile file_;
    std::vector<char> buffer_;
    std::string_view rest_;   // of the buffer
};

}   // namespace

void read_jsonl(const std::filesystem::path& path, const std::function<bool(Node&& value, std::int64_t line)>& row,
                const std::function<bool(const Error& error, std::int64_t line)>& bad) {
    Lines lines(path);
    std::string text;
    std::int64_t line = 0;
    while (lines.next(text)) {
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
}

}   // namespace trainer
