#pragma once

namespace trainer {

inline constexpr const char* version_text = "0.1.0";

}   // namespace trainer
