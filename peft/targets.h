#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/embedding.h"
#include "models/linear.h"
#include "peft/options.h"

namespace trainer {

// What a method adapts, in the model's order.
struct Selection {
    std::vector<Linear*> linears;
    std::vector<Embedding*> embeddings;
};

// The layers that the options choose, by PEFT's rules: `all-linear` is every Linear but lm_head; a list holds names
// that equal a module's path or a suffix of it after a dot; any other string is a regular expression that must match
// the whole path. `exclude`, `modules_to_save` and `layers_to_transform` take away. Error(bad_recipe) with the nearest
// names when an entry matches nothing, and when nothing is left. Nothing when only `target_parameters` are given.
Selection select_targets(const Declarations& model, const AdapterOptions& options);

// The paths among `names` that match, in their order; the rules of `targets` above. `key` is what messages call it.
std::vector<std::string> matching_names(const std::vector<std::string>& names, const TargetOption& targets,
                                        const std::string& key);

// The same question for one path, when it is known that something matches.
bool is_match(const std::string& name, const TargetOption& targets);

// Whether `targets`, `exclude`, `modules_to_save` and `layers_to_transform` choose the layer of that path, by the rules
// of select_targets; of `all-linear` it must be known to be a linear layer. std::regex_error for no regular expression.
bool is_chosen(const std::string& name, const AdapterOptions& options);

// Adds the layers of `target_parameters`, by PEFT's rule: a name that equals a parameter's or a suffix of it after a
// dot. Error(bad_recipe) when an entry matches no weight of a linear layer, or one that is adapted already.
void add_target_parameters(const Declarations& model, const AdapterOptions& options, Selection& selected);

// Error(bad_recipe) when an embedding is among them, of which `method` knows nothing.
void refuse_embeddings(const Selection& selected, std::string_view method);

// Error(bad_recipe) when none of the modules is an output layer, because it is the embedding.
void refuse_missing_head(const std::vector<std::string>& modules, const std::string& key);

// Error(bad_recipe) when the output layer is among them: the loss computes it piece by piece and takes low-rank
// adapters only. `key` asked for another kind.
void refuse_head(const Selection& selected, const std::string& key);

// The number that the first of the patterns gives to a module: a regular expression must match its whole path or the
// end of it after a dot.
bool is_pattern_match(const std::string& pattern, const std::string& module);
template <typename Number>
Number by_pattern(const PatternMap<Number>& patterns, const std::string& module, Number otherwise);

// Error(bad_recipe) with the nearest names when a pattern is no regular expression or gives nothing to any of the
// modules. `key` is what messages call the patterns.
template <typename Number>
void check_patterns(const PatternMap<Number>& patterns, const std::vector<std::string>& modules,
                    const std::string& key);

// Both kinds of patterns of the options.
void check_patterns(const AdapterOptions& options, const Selection& selected);

// What adapter_config.json lists for such a choice: for all-linear the last path components, sorted.
std::vector<std::string> target_suffixes(const Selection& selected);

// Their paths.
std::vector<std::string> module_names(const Selection& selected);

}   // namespace trainer
