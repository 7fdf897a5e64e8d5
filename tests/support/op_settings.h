#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
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

inline std::vector<Setting> settings() {
    std::vector<Setting> out;
    for (std::size_t i = 0; i < table().size(); ++i)
        for (DType dtype : {DType::f32, DType::bf16}) out.push_back({i, dtype});
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
    Bound bound() const { return dtype() == DType::f32 ? op().f32 : op().bf16; }
};

inline bool same_bits(const std::vector<Matrix>& a, const std::vector<Matrix>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const Matrix& x, const Matrix& y) { return x.numbers == y.numbers; });
}

}   // namespace trainer::cases
