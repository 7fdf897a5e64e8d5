#!/bin/bash
# Tests and benchmarks on a machine with a GPU, with nothing to download or install. Each verb ends within ten minutes:
# what it did not come to is begun when it is called again (exit code 75), on the same machine or with the same STATE.
#   tests/gpu.sh test            every test of CUDA code, then the kernels' again under compute-sanitizer, where it is there
#   tests/gpu.sh bench small     kernels, products, and whole training steps of models of 0.5 to 1.5 billion parameters
#   tests/gpu.sh bench 8b        the same of a model of 8 billion, at one length, beside the two best peers
#   tests/gpu.sh --bundle        where everything can be built: makes build/gpu/bundle.tar.gz, which is carried along
# Without a bundle it builds here (all that setup.sh --cuda installs must be there).
# Environment: OUT: a folder for the report and the logs (build/gpu/out) · STATE: what is kept from call to call, models
# among it (/tmp/trainer-gpu) · LIMIT: seconds (570) · PYTHON: with PyTorch (python3) · ARCHITECTURES: for --bundle (90a)
# Exit codes: 0 all well · 1 a test or a contender failed · 64 command line · 69 no GPU, library or bundle · 75 call again
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
packed=build/gpu/bundle.tar.gz
out=${OUT:-build/gpu/out}
state=${STATE:-/tmp/trainer-gpu}
limit=${LIMIT:-570}
python=${PYTHON:-python3}
verb=${1:-}
verb=${verb#--}

complain() {
    local code=$1
    shift
    printf 'gpu.sh: %s\n' "$@" >&2
    exit "$code"
}

# Programs and the shared libraries that a bare glibc does not have; oneDNN stays out.
make_bundle() {
    local tree=build/gpu/tree bundle=build/gpu/bundle program
    ./setup.sh --cuda
    CUDACXX=$(./setup.sh --find-nvcc)
    export CUDACXX
    cmake -S . -B $tree -G Ninja -DCMAKE_BUILD_TYPE=Release -DTRAINER_CUDA=ON -DTRAINER_ONEDNN=OFF -DTRAINER_MPI=OFF \
        -DTRAINER_CUDA_ARCHITECTURES="${ARCHITECTURES:-90a}" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
        -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache --log-level=WARNING
    cmake --build $tree --target trainer-bin test_cuda bench_ops bench_lora tiny_project model_driver
    rm -rf $bundle
    mkdir -p $bundle/lib
    for program in trainer tests/test_cuda bench/bench_ops bench/bench_lora tests/tiny_project tests/model_driver; do
        strip -o "$bundle/$(basename $program)" $tree/$program
        ldd $tree/$program | awk '$2 == "=>" {print $3}' |
            { grep -vE '/(libc|libm|libdl|librt|libpthread)\.so' || true; } | xargs -r cp -L -t $bundle/lib
    done
    tar -C build/gpu -czf $packed bundle
    rm -rf $bundle
    du -h $packed
}

# Prints a folder that holds the library, of the toolkit's or of an installed PyTorch's.
folder_of() {
    local folder
    for folder in "${CUDA_HOME:-/usr/local/cuda}"/{lib64,targets/x86_64-linux/lib,lib} \
        $("$python" -c 'import site; print(*(p + "/nvidia/*/lib" for p in site.getsitepackages() + [site.getusersitepackages()]))' 2>/dev/null); do
        if [ -e "$folder/$1" ]; then
            echo "$folder"
            return
        fi
    done
    return 1
}

prepare() {
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm --format=csv,noheader 2>/dev/null ||
        complain 69 "nvidia-smi shows no GPU"
    [ -e $packed ] || make_bundle
    # What was done is done for this bundle and this GPU only.
    state=$state/$({ cat $packed; nvidia-smi --query-gpu=name,driver_version --format=csv,noheader; } | sha256sum | cut -c1-12)
    mkdir -p "$state" "$out"
    bundle=$state/bundle
    [ -x "$bundle/model_driver" ] || tar -C "$state" -xzf $packed
    # What the user's path has comes first: some containers find the driver by it alone.
    local folder library
    libraries=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$bundle/lib
    for library in libcublasLt.so.13 libcudnn.so.9 libnccl.so.2; do
        folder=$(folder_of $library) || echo "$library is in no toolkit and no Python package that was looked at"
        libraries+=${folder:+:$folder}
    done
    export TRAINER_REQUIRE_GPU=1   # a test that finds none fails
}

# ours PROGRAM ARGUMENTS…: with the libraries that PyTorch must not be given.
ours() { LD_LIBRARY_PATH=$libraries "$@"; }

# step NAME COMMAND…: runs it unless it went well before; its output goes to $state/NAME.log.
failed=0 unfinished=0
step() {
    local name=$1 begin=$SECONDS status=0
    shift
    if [ -e "$state/$name.done" ]; then
        echo "$name: went well before"
        return
    fi
    if [ $((limit - SECONDS)) -lt 15 ]; then
        unfinished=$((unfinished + 1))
        return
    fi
    export -f ours
    export libraries
    timeout --kill-after=10 $((limit - SECONDS)) bash -c '"$@"' step "$@" >"$state/$name.log" 2>&1 || status=$?
    if [ $status = 0 ]; then
        touch "$state/$name.done"
        echo "$name: ok, $((SECONDS - begin)) s"
    elif [ $status = 124 ] || [ $status = 137 ]; then
        unfinished=$((unfinished + 1))
        echo "$name: cut off after $((SECONDS - begin)) s"
    else
        failed=1
        echo "$name: FAILED after $((SECONDS - begin)) s; the end of its log:"
        tail -n 25 "$state/$name.log"
    fi
}

run_tests() {
    local sanitizer tool shard shards=6
    step tests ours "$bundle/test_cuda" --gtest_brief=1
    step runs ours tests/cuda/run_test.sh "$bundle/trainer" "$bundle/tiny_project"
    if [ "$(nvidia-smi -L | grep -c '^GPU')" -ge 2 ]; then
        step ranks ours tests/cuda/nccl_test.sh "$bundle/trainer" "$bundle/tiny_project"
    else
        echo "ranks: there is one GPU; several processes were not tried"
    fi
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
    if [ -z "$sanitizer" ]; then
        echo "compute-sanitizer is not here: kernels were not looked at by it"
        return
    fi
    for tool in memcheck racecheck initcheck synccheck; do
        for ((shard = 0; shard < shards; ++shard)); do
            TRAINER_SANITIZED=1 GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard step "sanitizer_${tool}_$shard" \
                ours "$sanitizer" --tool $tool --error-exitcode 1 "$bundle/test_cuda" --gtest_brief=1 \
                --gtest_filter='-*NoOrderOfThreads*:*MetaAllocates*'
        done
    done
}

# steps SHAPE LENGTH TOKENS MORE…: whole training steps beside the peers; then the kernels of ours. The programs of ours find
# their libraries by themselves.
steps() {
    local shape=$1 length=$2 tokens=$3 work=$state/work_$1
    shift 3
    wrapped trainer
    wrapped model_driver
    step "steps_$shape" "$python" bench/compare/gpu.py "$bundle/run-trainer" "$bundle/run-model_driver" "$shape" \
        --length "$length" --tokens "$tokens" --work "$work" "$@"
    step "kernels_$shape" "$python" bench/compare/gpu_kernels.py "$bundle/run-model_driver" "$work"
}

wrapped() {
    printf '#!/bin/bash\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$libraries" "$bundle/$1" >"$bundle/run-$1"
    chmod +x "$bundle/run-$1"
}

# What the logs say, in one text.
report() {
    local log
    {
        date -u '+%Y-%m-%d %H:%M UTC'
        nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.limit --format=csv
        for log in "$@"; do
            [ ! -e "$state/$log.log" ] || { echo "== $log"; cat "$state/$log.log"; }
        done
    } >"$out/report_${verb}_${size:-all}.txt"
    cat "$out/report_${verb}_${size:-all}.txt"
}

size=
case "$verb" in
    bundle)
        make_bundle
        exit
        ;;
    test)
        prepare
        run_tests
        ;;
    bench)
        size=${2:-}
        case "$size" in
            small)
                prepare
                step lora_small ours "$bundle/bench_lora" small 0.1 cuda
                step ops ours "$bundle/bench_ops" "" 0.1 cuda
                for shape in 0.5b 1b 1.5b; do steps $shape 2048 4096; done
                report ops lora_small steps_0.5b kernels_0.5b steps_1b kernels_1b steps_1.5b kernels_1.5b
                ;;
            8b)
                prepare
                step lora_8b ours "$bundle/bench_lora" 8b 0.2 cuda
                steps 8b 4096 8192 --warm 6 --steps 20
                report lora_8b steps_8b kernels_8b
                ;;
            *) complain 64 "bench what? known: bench small, bench 8b" ;;
        esac
        ;;
    *) complain 64 "unknown verb '${1:-}'; known: test, bench small, bench 8b, --bundle" ;;
esac
(cd "$state" && tar -czf - ./*.log) >"$out/logs.tar.gz"
if [ $failed = 0 ] && [ $unfinished -gt 0 ]; then
    echo "$unfinished steps are left: call again"
    exit 75
fi
exit $failed
