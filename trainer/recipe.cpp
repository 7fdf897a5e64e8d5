#include "trainer/recipe.h"

#include "configs/overrides.h"
#include "configs/yaml.h"
#include "trainer/recipe_check.h"

namespace trainer {

Recipe load_recipe(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
    Node document = read_yaml(path);
    std::vector<Error> errors = apply_overrides(document, overrides);
    Complaints complaints;
    Recipe recipe = read_recipe(document, complaints);
    for (const Error& error : complaints.in_order()) errors.push_back(error);
    if (!errors.empty()) throw Errors(std::move(errors));
    return recipe;
}

Recipe read_recipe(const Node& document, Complaints& complaints) {
    Recipe recipe;
    const Where root{complaints, ""};
    FieldType<Recipe>::read(document, recipe, root);
    if (document.is_map()) check_recipe(recipe, document, complaints);
    return recipe;
}

Node resolved(const Recipe& recipe) { return write_fields(recipe); }

Node recipe_schema() {
    const Node fields = schema_of<Recipe>();
    Node schema = Node::map();
    schema.set("$schema", "https://json-schema.org/draft/2020-12/schema");
    schema.set("title", "a recipe of trainer");
    for (const Node::Entry& entry : fields.as_map()) schema.set(entry.key, entry.value);
    return schema;
}

std::string explain_recipe() {
    std::vector<FieldNote> notes;
    explain_fields<Recipe>(notes);
    return to_text(notes);
}

}   // namespace trainer
