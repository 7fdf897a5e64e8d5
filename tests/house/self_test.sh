#!/bin/bash
# Breaks every rule of check.sh once, in a small tree of its own, and expects exactly the breach to be told.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

# write FILE: from standard input
write() {
    mkdir -p "$tree/$(dirname "$1")"
    cat >"$tree/$1"
}

# expect RULE WORDS: the rule fails and its output holds WORDS; with WORDS empty it passes.
expect() {
    local output status=0
    output=$("$here/check.sh" "$1" "$tree" 2>&1) || status=$?
    if { [ -z "$2" ] && [ $status -ne 0 ]; } || { [ -n "$2" ] && { [ $status -ne 1 ] || [[ $output != *"$2"* ]]; }; }; then
        printf 'rule %s: expected "%s", exit %s, output:\n%s\n' "$1" "$2" "$status" "$output"
        failures=$((failures + 1))
    fi
}

cp "$here/../../.clang-format" "$tree/"
printf '#pragma once\n#include "configs/error.h"\n' | write autograd/ops/add.h
printf '#pragma once\n' | write configs/error.h
printf '#include <yaml-cpp/yaml.h>\n' | write configs/yaml.cpp
printf 'Row rows[] = {{"add", 1}};\n' | write tests/support/op_cases.cpp
printf 'See `configs/error.h`, [the code](configs/), `autograd/ops/*.h`, `key/value`, `build/x`.\n' | write README.md
printf 'row\n' | write recipes/data/rows.jsonl
printf '`rows.jsonl`: %s\n' "$(printf 'row\n' | sha256sum | cut -d' ' -f1)" | write recipes/data/README.md
for rule in floors libraries sizes names op_cases docs data_cards format; do expect $rule ""; done

printf '#pragma once\n#include "autograd/ops/add.h"\n' | write configs/up.h
expect floors 'configs (floor 0) includes "autograd/ops/add.h" (floor 1)'
printf '#include "data/row.h"\n' | write models/llama.cpp
expect floors 'models (floor 3) includes "data/row.h" (floor 3)'
printf '#include "add.h"\n' | write autograd/ops/add.cpp
expect floors 'includes "add.h", which is not a path from the root'
printf '#include <yaml-cpp/yaml.h>\n' | write trainer/recipe.cpp
expect libraries 'trainer/recipe.cpp: includes <yaml-cpp/yaml.h>, which only configs/yaml.cpp may'
seq -f '// %g' 401 | write hub/long.cpp
expect sizes 'hub/long.cpp: 401 lines'
printf '\n' | write data/utils.cpp
expect names 'data/utils.cpp: utils says nothing'
printf '// TODO: later\n' | write data/later.cpp
expect names 'data/later.cpp:1:// TODO: later: unfinished'
printf '#pragma once\nTensor rope(Tensor x);\n' | write autograd/ops/rope.h
expect op_cases 'autograd/ops/rope.h: no row "rope"'
printf 'See `configs/gone.h`.\n' | write docs/dead.md
expect docs 'docs/dead.md: names configs/gone.h, which does not exist'
printf 'See [it](gone.md).\n' | write docs/link.md
expect docs 'docs/link.md: names gone.md, which does not exist'
printf 'another row\n' | write recipes/data/rows.jsonl
expect data_cards 'recipes/data/rows.jsonl: the README.md beside it'
printf 'int  x ;\n' | write data/ugly.cpp
expect format 'data/ugly.cpp: run clang-format-14 -i'

[ $failures -eq 0 ] || exit 1
