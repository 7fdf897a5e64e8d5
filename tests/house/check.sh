#!/bin/bash
# check.sh RULE [ROOT]: checks one rule of the house on the sources under ROOT. Prints every breach, exits 1 on any.
set -euo pipefail
export LC_ALL=C
here=$(dirname "$(readlink -f "$0")")
rule=$1
cd "${2:-$here/../..}"

# Rooms and their floors: a file may include its own room and rooms of lower floors.
declare -A floor=([configs]=0 [autograd]=1 [comm]=2 [hub]=3 [optim]=3 [data]=3 [models]=3 [peft]=4 [trainer]=5)
rooms=(configs autograd comm hub optim data models peft trainer)

# Foreign libraries: header, and where alone it may be included (a bash pattern of paths).
libraries=(
    'yaml-cpp/                configs/yaml.cpp'
    'spdlog/                  trainer/log.cpp'
    'CLI/                     trainer/*'
    'oneapi/dnnl/             autograd/cpu/gemm*'
    'dnnl                     autograd/cpu/gemm*'
    'pcre2.h                  data/*'
    'openssl/                 hub/sha256.cpp'
    'cublas                   autograd/cuda/*'
    'cudnn                    autograd/cuda/*'
    'nccl.h                   comm/nccl.cpp'
    'mpi.h                    comm/mpi.cpp'
    'hdf5                     data/token_cache.cpp'
    'H5                       data/token_cache.cpp'
)

breaches=0
breach() {
    printf '%s\n' "$1"
    breaches=$((breaches + 1))
}

# files ROOT… -- find's tests: regular files of ours, without build output and fetched things.
files() {
    local roots=()
    while [ "$1" != -- ]; do
        [ -e "$1" ] && roots+=("$1")
        shift
    done
    shift
    [ ${#roots[@]} -eq 0 ] && return
    find "${roots[@]}" \( -path './.*' -o -path ./build -o -path ./runs -o -name __pycache__ \) -prune -o \
        -type f \( "$@" \) -print | sed 's|^\./||' | sort
}

sources=(-name '*.h' -o -name '*.cpp' -o -name '*.cu')

check_floors() {
    local file included room from
    while IFS=: read -r file included; do
        room=${included%%/*}
        from=${file%%/*}
        if [[ $included != */* || -z ${floor[$room]:-} ]]; then
            breach "$file: includes \"$included\", which is not a path from the root into a room"
        elif [ "$room" != "$from" ] && [ "${floor[$room]}" -ge "${floor[$from]}" ]; then
            breach "$file: $from (floor ${floor[$from]}) includes \"$included\" (floor ${floor[$room]})"
        fi
    done < <(files "${rooms[@]}" -- "${sources[@]}" |
        xargs -r grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]+"' |
        sed -E 's/:[^"]*"/:/; s/"$//')
}

check_libraries() {
    local file included line header place
    while IFS=: read -r file included; do
        for line in "${libraries[@]}"; do
            read -r header place <<<"$line"
            # shellcheck disable=SC2053  # the right side is a pattern
            if [[ $included == "$header"* && $file != $place ]]; then
                breach "$file: includes <$included>, which only $place may"
                break
            fi
        done
    done < <(files "${rooms[@]}" -- "${sources[@]}" |
        xargs -r grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"][^>"]+[>"]' |
        sed -E 's/:[^<"]*[<"]/:/; s/[>"]$//')
}

check_sizes() {
    local count file
    while read -r count file; do
        [ "$count" -le 400 ] || grep -qxF "$file" "$here/long_files.txt" ||
            breach "$file: $count lines; a file has one idea and at most 400 (or a line in tests/house/long_files.txt)"
    done < <(files . -- "${sources[@]}" -o -name '*.sh' -o -name '*.py' -o -name '*.cmake' -o -name CMakeLists.txt |
        xargs -r wc -l | grep -v ' total$')
}

check_names() {
    local path
    while read -r path; do
        breach "$path: utils says nothing; name what it does"
    done < <(files . -- -ipath '*util*' ! -name '*.jsonl')
    while read -r path; do
        breach "$path: unfinished work is an issue, not a comment"
    done < <(files "${rooms[@]}" bench cmake tests recipes -- "${sources[@]}" -o -name '*.py' -o -name '*.sh' |
        grep -v '^tests/house/' | xargs -r grep -nwEi 'TODO|FIXME|XXX|HACK|unimplemented|not implemented|placeholder|stub' || true)
}

# Every op of autograd/ops (a header that declares a function of its own name) has a row in the table of op cases, which gives its gradient check and benchmark.
check_op_cases() {
    local tables=tests/support/op_cases header op
    while read -r header; do
        op=$(basename "$header" .h)
        grep -qE "\\b$op\\(" "$header" || continue
        grep -qE "\"$op[\" ._:,(-]" "$tables"*.cpp 2>/dev/null || breach "$header: no row \"$op\" in $tables.cpp"
    done < <(files autograd/ops -- -name '*.h')
}

# Paths of ours that a document names in backquotes or links must exist.
check_docs() {
    local file path folder
    while IFS=: read -r file path; do
        path=${path%%#*}
        path=${path#./}
        case $path in '' | http*:* | mailto:* | build/* | runs/* | .model/* | .cuda/* | /*) continue ;; esac
        [[ $path =~ ^[A-Za-z0-9._/*-]+$ && $path == *[/.]* ]] || continue
        folder=$(dirname "$file")
        if [[ $path == */* ]]; then
            # A path of ours starts with a folder or file of the root, or is a link beside the document.
            [ -e "${path%%/*}" ] || [[ $path == ../* ]] || continue
        else
            [[ $path =~ \.(md|sh|h|cpp|cu|cmake|yaml)$ ]] || continue
            [ -n "$(files . -- -name "$path")" ] && continue
        fi
        compgen -G "$path" >/dev/null || compgen -G "$folder/$path" >/dev/null ||
            breach "$file: names $path, which does not exist"
    done < <(files . -- -name '*.md' |
        xargs -r grep -HoE '`[^` ]+`|\]\([^) ]+\)' | sed -E 's/:(`|\]\()/:/; s/[`)]$//')
}

check_format() {
    if ! command -v clang-format-14 >/dev/null; then
        breach "clang-format-14 is missing: run ./setup.sh"
        return
    fi
    local file
    while read -r file; do
        breach "$file: run clang-format-14 -i $file"
    done < <(files "${rooms[@]}" tests bench cmake -- "${sources[@]}" |
        xargs -r -n 16 -P "$(nproc)" clang-format-14 --dry-run -Werror 2>&1 |
        sed -nE 's/^([^:]+):[0-9]+:[0-9]+: error:.*/\1/p' | sort -u)
}

# A data card (README.md beside *.jsonl) gives the SHA-256 of every file it lies beside.
check_data_cards() {
    local file sum
    while read -r file; do
        sum=$(sha256sum "$file" | cut -d' ' -f1)
        grep -qs "$(basename "$file").*$sum" "$(dirname "$file")/README.md" ||
            breach "$file: the README.md beside it does not give its SHA-256, $sum"
    done < <(files recipes -- -name '*.jsonl')
}

case $rule in
    floors | libraries | sizes | names | op_cases | docs | data_cards | format) "check_$rule" ;;
    *)
        echo "check.sh: unknown rule '$rule'" >&2
        exit 64
        ;;
esac
[ "$breaches" -eq 0 ] || {
    echo "$breaches breaches of the rule '$rule'"
    exit 1
}
