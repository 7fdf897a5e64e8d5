#pragma once

#include <string>
#include <vector>

namespace trainer {

// For execve(2): what is made before fork(2), since after it memory must not be asked for.

// This process's environment, "NAME=value", with some of its variables set anew and others joined to it.
std::vector<std::string> environment_with(const std::vector<std::string>& variables);

// Ends with a null pointer; valid as long as the words are.
std::vector<char*> pointers_to(std::vector<std::string>& words);

}   // namespace trainer
