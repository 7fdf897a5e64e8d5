// The tables whose names a recipe may say.
#include "data/formats/format.h"
#include "peft/registry.h"
#include "trainer/recipe_sections.h"

namespace trainer {

std::vector<std::string> adapter_method_names() { return peft_methods().names(); }
std::vector<std::string> format_names() { return data_formats().names(); }

}   // namespace trainer
