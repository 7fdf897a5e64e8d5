// The % operator of strings.
#include <algorithm>
#include <cmath>

#include "configs/error.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_filters.h"
#include "data/jinja_format.h"

namespace trainer::jinja {

namespace {

// One conversion of the % operator: text[at] stands after the '%'.
class Percent {
public:
    Percent(Evaluator& evaluator, const Value& pattern, const Value& operand)
        : budget_(evaluator.budget), out_(evaluator.budget), pattern_(pattern), operand_(operand) {
        tuple_ = operand.is_sequence() && operand.sequence().kind == Sequence::Kind::tuple;
        // Python lets these be left unused: they may be looked into by name.
        mapping_ = operand.is_undefined() || operand.is_dict() ||
                   (operand.is_sequence() && !tuple_ && operand.sequence().subscriptable());
    }

    Value run() {
        const std::string& bytes = pattern_.bytes();
        for (at_ = 0; at_ < bytes.size();) {
            const std::size_t mark = std::min(bytes.find('%', at_), bytes.size());
            out_.add(pattern_.text(), at_, mark);
            at_ = mark + 1;
            if (mark < bytes.size()) conversion(bytes);
        }
        const bool all = tuple_ ? used_ == operand_.sequence().items.size() : used_ > 0 || mapping_;
        if (!all) throw Failure("not all values of '%' were used by its format");
        return out_.finish();
    }

private:
    Value next() {
        if (tuple_) {
            if (used_ >= operand_.sequence().items.size()) throw Failure("the format of '%' needs more values");
            return operand_.sequence().items[used_++];
        }
        if (used_++ > 0) throw Failure("the format of '%' needs more values");
        return operand_;
    }

    std::int64_t count(const std::string& bytes) {
        if (at_ < bytes.size() && bytes[at_] == '*') {
            ++at_;
            const Value value = next();
            if (!value.is_integral() || value.integral() > widest_format || value.integral() < -widest_format)
                throw Failure("'*' in a format needs an integer of at most 1000000");
            return value.integral();
        }
        return read_number(bytes, at_);
    }

    void conversion(const std::string& bytes) {
        std::optional<Value> named;
        if (at_ < bytes.size() && bytes[at_] == '(') {
            const std::size_t close = bytes.find(')', at_);
            if (close == std::string::npos || !operand_.is_dict())
                throw Failure("'%(name)s' needs a closing bracket and a dict");
            const Value* found = operand_.dict().find(std::string_view(bytes).substr(at_ + 1, close - at_ - 1));
            if (!found) throw Failure(format("the dict has no '{}'", bytes.substr(at_ + 1, close - at_ - 1)));
            named = *found;
            at_ = close + 1;
            ++used_;
        }
        FormatStyle style;
        bool left = false;
        bool zero = false;
        for (; at_ < bytes.size(); ++at_) {
            const char c = bytes[at_];
            if (c == '-')
                left = true;
            else if (c == '0')
                zero = true;
            else if (c == '+' || (c == ' ' && style.sign != '+'))
                style.sign = c;
            else if (c == '#')
                style.alternate = true;
            else if (c != ' ')
                break;
        }
        style.width = count(bytes);
        left |= style.width < 0;
        style.width = std::abs(style.width);
        if (at_ < bytes.size() && bytes[at_] == '.') {
            ++at_;
            style.precision = std::max<std::int64_t>(0, count(bytes));
        }
        while (at_ < bytes.size() && std::string_view("hlL").find(bytes[at_]) != std::string_view::npos) ++at_;
        if (at_ >= bytes.size()) throw Failure("the format of '%' ends too early");
        style.type = bytes[at_++];
        style.align = left ? '<' : '>';
        if (style.type == '%') {
            out_.add("%");
            return;
        }
        write(named ? *named : next(), style, zero && !left);
    }

    void write(const Value& value, FormatStyle style, bool zero) {
        const Tag tag{value.message, 0};
        auto numeric = [&] {
            if (value.is_undefined()) throw Failure(value.undefined_message());
            if (!value.is_numeric())
                throw Failure(format("'%{}' needs a number, found {}", style.type, value.type_name()));
            if (zero) {
                style.fill = "0";
                style.align = '=';
            }
        };
        switch (style.type) {
            case 's':
            case 'r':
            case 'a': {
                if (style.type == 's') {
                    add_string(out_, to_text(budget_, value), style);
                } else {
                    Builder text(budget_);
                    write_repr(text, value);
                    add_string(out_, text.finish(), style);
                }
                break;
            }
            case 'd':
            case 'i':
            case 'u':
                numeric();
                if (!value.is_integral() && !(std::fabs(value.numeric()) < 9.2e18))
                    throw Failure("an integer does not fit in 64 bits");
                add_integer(out_, value.is_integral() ? value.integral() : static_cast<std::int64_t>(value.numeric()),
                            style, tag);
                break;
            case 'x':
            case 'X':
            case 'o':
                numeric();
                if (!value.is_integral()) throw Failure(format("'%{}' needs an integer, found float", style.type));
                add_integer(out_, value.integral(), style, tag);
                break;
            case 'e':
            case 'E':
            case 'f':
            case 'F':
            case 'g':
            case 'G':
                numeric();
                if (!std::isfinite(value.numeric())) style.fill = " ";
                add_float(out_, value.numeric(), style, tag);
                break;
            case 'c': {
                style.precision = -1;
                if (!value.is_string() || value.text().length != 1) throw Failure("'%c' needs one character");
                add_string(out_, value, style);
                break;
            }
            default:
                throw Failure(format("'%{}' is no conversion", style.type));
        }
    }

    Budget& budget_;
    Builder out_;
    const Value& pattern_;
    const Value& operand_;
    bool tuple_;
    bool mapping_;
    std::size_t at_ = 0;
    std::size_t used_ = 0;
};

}   // namespace

Value format_percent(Evaluator& evaluator, const Value& pattern, const Value& operand) {
    return Percent(evaluator, pattern, operand).run();
}

}   // namespace trainer::jinja
