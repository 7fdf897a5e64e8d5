#pragma once

#include <string>

#include "configs/error.h"

namespace trainer {

// What people read goes to standard error as plain lines; standard output is for results.
void log_warning(const std::string& text);   // "warning: …"
void log_error(const std::string& text);     // one "error: …" a line
void log_error(const Error& error);          // its message; when memory ran out, with what can be done

}   // namespace trainer
