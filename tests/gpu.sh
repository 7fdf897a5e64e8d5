#!/bin/bash
# Tests and benchmarks on a machine with a GPU, with nothing to download or install. Three verbs, each under ten minutes;
# one that was cut off goes on where it was when it is called again.
#   tests/gpu.sh test            every test of CUDA code, then the kernels' again under compute-sanitizer, where it is there
#   tests/gpu.sh bench small     kernels at the shapes of a small model's training step
#   tests/gpu.sh --bundle        on a machine that can build everything: makes build/gpu/bundle, which is carried along
# Without a bundle it builds here (all that setup.sh --cuda installs must be there).
# Environment: OUT: a folder for logs and figures (build/gpu/out) · ARCHITECTURES: for --bundle (90a)
# Exit codes: 0 all well · 1 a test failed · 64 command line · 69 no GPU, library or bundle
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
build=build/gpu
bundle=$build/bundle
out=${OUT:-$build/out}

complain() {
    local code=$1
    shift
    printf 'gpu.sh: %s\n' "$@" >&2
    exit "$code"
}

# Programs and the shared libraries that a bare glibc does not have; oneDNN stays out.
make_bundle() {
    ./setup.sh --cuda
    CUDACXX=$(./setup.sh --find-nvcc)
    export CUDACXX
    cmake -S . -B $build/tree -G Ninja -DCMAKE_BUILD_TYPE=Release -DTRAINER_CUDA=ON -DTRAINER_ONEDNN=OFF -DTRAINER_MPI=OFF \
        -DTRAINER_CUDA_ARCHITECTURES="${ARCHITECTURES:-90a}" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
        -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache --log-level=WARNING
    cmake --build $build/tree --target trainer-bin test_cuda bench_ops tiny_project
    rm -rf $bundle
    mkdir -p $bundle/lib
    local program
    for program in trainer tests/test_cuda bench/bench_ops tests/tiny_project; do
        strip -o "$bundle/$(basename $program)" $build/tree/$program
        ldd $build/tree/$program | awk '$2 == "=>" {print $3}' |
            { grep -vE '/(libc|libm|libdl|librt|libpthread)\.so' || true; } | xargs -r cp -L -t $bundle/lib
    done
    du -sh $bundle
}

# Prints a folder that holds the library, of the toolkit's or of an installed PyTorch's.
folder_of() {
    local folder
    for folder in "${CUDA_HOME:-/usr/local/cuda}"/lib64 "${CUDA_HOME:-/usr/local/cuda}"/targets/x86_64-linux/lib \
        $(python3 -c 'import site; print(*(p + "/nvidia/*/lib" for p in site.getsitepackages() + [site.getusersitepackages()]))' 2>/dev/null); do
        if [ -e "$folder/$1" ]; then
            echo "$folder"
            return
        fi
    done
    return 1
}

prepare() {
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv,noheader 2>/dev/null ||
        complain 69 "nvidia-smi shows no GPU"
    [ -x $bundle/test_cuda ] || make_bundle
    # What the user's path has comes first: some containers find the driver by it alone.
    local library folder folders=
    for library in libcublasLt.so.13 libcudnn.so.9; do
        folder=$(folder_of $library) || echo "$library is in no toolkit and no Python package that was looked at"
        folders+=${folder:+:$folder}
    done
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$PWD/$bundle/lib$folders
    export TRAINER_REQUIRE_GPU=1   # a test that finds none fails
    # What was done is done for these programs and this GPU only.
    out=$out/$({ cat $bundle/trainer $bundle/test_cuda; nvidia-smi --query-gpu=name,driver_version --format=csv,noheader; echo "$folders"; } |
        sha256sum | cut -c1-12)
    mkdir -p "$out"
    echo "logs and figures: $out"
}

# step NAME COMMAND…: runs it unless it went well before; its output goes to $out/NAME.log.
failed=0
step() {
    local name=$1 begin=$SECONDS
    shift
    if [ -e "$out/$name.done" ]; then
        echo "$name: went well before"
    elif "$@" >"$out/$name.log" 2>&1; then
        touch "$out/$name.done"
        echo "$name: ok, $((SECONDS - begin)) s"
    else
        failed=1
        echo "$name: FAILED after $((SECONDS - begin)) s; the end of $out/$name.log:"
        tail -n 25 "$out/$name.log"
    fi
}

run_tests() {
    step tests $bundle/test_cuda --gtest_brief=1
    step runs tests/cuda/run_test.sh $bundle/trainer $bundle/tiny_project
    local sanitizer tool
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
    if [ -z "$sanitizer" ]; then
        echo "compute-sanitizer is not here: kernels were not looked at by it"
        return
    fi
    for tool in memcheck racecheck initcheck synccheck; do
        TRAINER_SANITIZED=1 step "sanitizer_$tool" "$sanitizer" --tool $tool --error-exitcode 1 $bundle/test_cuda \
            --gtest_brief=1 --gtest_filter='-*NoOrderOfThreads*:*MetaAllocates*'
    done
}

bench_small() {
    rm -f "$out/bench_ops.done"
    step bench_ops $bundle/bench_ops "" 0.2 cuda
    cat "$out/bench_ops.log"
}

case "${1:-}" in
    --bundle) make_bundle ;;
    test)
        prepare
        run_tests
        ;;
    bench)
        [ "${2:-}" = small ] || complain 64 "bench what? known: bench small"
        prepare
        bench_small
        ;;
    *) complain 64 "unknown verb '${1:-}'; known: test, bench small, --bundle" ;;
esac
exit $failed
