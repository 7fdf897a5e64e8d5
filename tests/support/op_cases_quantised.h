#pragma once

#include <string>

#include "tests/support/op_cases.h"

// Rows of ops on quantised weights, which are frozen.
namespace trainer::cases {

// `format`: a name of autograd/quant/registry.cpp.
Case quantised_linear_case(const std::string& format, std::int64_t tokens, std::int64_t in, std::int64_t out);

}   // namespace trainer::cases
