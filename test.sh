#!/bin/bash
# Installs what is missing, builds the dev preset with warnings as errors, and runs all tests.
#   ./test.sh [arguments of ctest]      such as: ./test.sh -R configs     ./test.sh --rerun-failed
# Environment:
#   TRAINER_CUDA=ON|OFF    compile CUDA; by default ON where a CUDA 13 compiler is found. ON fetches one if need be.
#   JOBS=N                 compilers and tests at a time; by default one per core
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
jobs=${JOBS:-$(nproc)}

begin=$SECONDS
case ${TRAINER_CUDA:=auto} in
    ON) ./setup.sh --cuda ;;
    OFF) ./setup.sh ;;
    auto)
        ./setup.sh
        if ./setup.sh --find-nvcc >/dev/null; then TRAINER_CUDA=ON; else TRAINER_CUDA=OFF; fi
        ;;
    *)
        echo "test.sh: TRAINER_CUDA is '$TRAINER_CUDA'; it may be ON or OFF" >&2
        exit 64
        ;;
esac
if [ "$TRAINER_CUDA" = ON ]; then
    CUDACXX=$(./setup.sh --find-nvcc)
    export CUDACXX
fi
set_up=$((SECONDS - begin))

begin=$SECONDS
cmake --preset dev -DTRAINER_CUDA="$TRAINER_CUDA" --log-level=WARNING
cmake --build --preset dev --parallel "$jobs"
built=$((SECONDS - begin))

begin=$SECONDS
status=0
ctest --test-dir build/dev --output-on-failure --no-tests=error --timeout 900 --parallel "$jobs" "$@" || status=$?
printf 'set-up %d s, build %d s (CUDA %s), tests %d s\n' $set_up $built "$TRAINER_CUDA" $((SECONDS - begin))
exit $status
