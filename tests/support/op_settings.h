#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <string>
#include <vector>

#include "tests/support/op_cases.h"

// The small cases of the table of ops as parameters of tests, on whatever place.
namespace trainer::cases {

inline const std::vector<Case>& table() {
    static const std::vector<Case> cases = small_cases();
    return cases;
}

struct Setting {
    std::size_t index;
    DType dtype;
};

inline std::vector<Setting> settings(std::initializer_list<DType> dtypes) {
    std::vector<Setting> out;
    for (std::size_t i = 0; i < table().size(); ++i)
        for (DType dtype : dtypes) out.push_back({i, dtype});
    return out;
}

inline std::string setting_name(const ::testing::TestParamInfo<Setting>& info) {
    std::string name = table()[info.param.index].label + " " + std::string(name_of(info.param.dtype));
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
    return name;
}

class OpTest : public ::testing::TestWithParam<Setting> {
protected:
    const Case& op() const { return table()[GetParam().index]; }
    DType dtype() const { return GetParam().dtype; }
    Bound bound() const {
        // f16 has three bits more than bf16, and sums in f32 as well; one of them is left to tensors of few numbers,
        // where roundings do not even out.
        if (dtype() == DType::f16)
            return {std::max(op().bf16.forward / 4, op().f32.forward),
                    std::max(op().bf16.gradient / 4, op().f32.gradient)};
        return dtype() == DType::f32 ? op().f32 : op().bf16;
    }
};

inline bool same_bits(const std::vector<Matrix>& a, const std::vector<Matrix>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const Matrix& x, const Matrix& y) { return x.numbers == y.numbers; });
}

}   // namespace trainer::cases
