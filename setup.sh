#!/bin/bash
# Installs what trainer needs to be built and tested on Debian 12, and nothing else. Where all is there it only looks,
# takes a few hundredths of a second and needs no network.
#   ./setup.sh            the Debian packages below
#   ./setup.sh --cuda     also a CUDA 13.0 compiler, into .cuda/, where none is found, headers of NVIDIA's libraries, into
#                         .cuda-libraries/, where the compiler's toolkit has none, and what the tests of CUDA code need
#   ./setup.sh --list     prints the packages, installs nothing
# Exit codes: 0 all is there · 64 command line · 69 no network or package · 77 neither root nor sudo
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

# One package a line: add new ones here.
packages=(
    build-essential
    cmake
    ninja-build
    ccache
    pkg-config
    git
    clang-format-14
    libspdlog-dev
    libfmt-dev
    libyaml-cpp-dev
    libcli11-dev
    libpcre2-dev
    libssl-dev
    libdnnl-dev
    libopenmpi-dev
    openmpi-bin
    libgtest-dev
    libgmock-dev
    python3-pip          # only fetches the model of quickstart.sh and the compiler of --cuda
)

# What the tests of CUDA code need besides.
cuda_packages=(
    libboost-context-dev   # fibers of the emulator
)

# The wheels that hold nvcc, exactly as tried; together 100 MB.
cuda_wheels=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85
)
# The wheels whose headers are used, and one header of each; the libraries are opened at run time, so they may be newer.
cuda_library_wheels=(
    'nvidia-cublas==13.1.0.3        nvidia/cu13/include/cublasLt.h'
    'nvidia-cuda-nvrtc==13.0.88     nvidia/cu13/include/nvrtc.h'   # which cuDNN's frontend includes
    'nvidia-cudnn-cu13==9.19.0.56   nvidia/cudnn/include/cudnn.h'
    'nvidia-cudnn-frontend==1.32.0  include/cudnn_frontend.h'
    'nvidia-nccl-cu13==2.28.9       nvidia/nccl/include/nccl.h'
)

complain() {
    local code=$1
    shift
    printf 'setup.sh: %s\n' "$@" >&2
    exit "$code"
}

missing_packages() {
    local installed
    installed=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null |
        sed -n 's/^installed //p' || true)
    comm -23 <(printf '%s\n' "${packages[@]}" | sort) <(printf '%s\n' "$installed" | sort)
}

install_packages() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "setup.sh: this is not Debian or Ubuntu; docs/installation.md says what to install by hand. Going on." >&2
        return
    fi
    local missing
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -eq 0 ] && return
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            complain 77 "missing: ${missing[*]}" "you are not root and there is no sudo. Ask an administrator to run" \
                "    apt-get install --no-install-recommends ${missing[*]}"
        if [ -t 0 ]; then as_root=(sudo); else as_root=(sudo -n); fi
        "${as_root[@]}" true ||
            complain 77 "missing: ${missing[*]}" "sudo refused. Ask an administrator to run" \
                "    apt-get install --no-install-recommends ${missing[*]}"
    fi
    echo "setup.sh: installing ${#missing[@]} packages: ${missing[*]}"
    local log
    log=$(mktemp)
    as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    # A failed update still leaves the lists and packages of an earlier one, which may be enough.
    if ! "${as_root[@]}" update >"$log" 2>&1 ||
        ! "${as_root[@]}" install --yes --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
        "${as_root[@]}" install --yes --no-install-recommends "${missing[@]}" >>"$log" 2>&1 || true
    fi
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} -gt 0 ]; then
        grep -E '^(E|W|Err|dpkg): *' "$log" | tail -n 12 >&2 || tail -n 12 "$log" >&2
        complain 69 "could not install: ${missing[*]}" \
            "is there a network, and does 'apt-get update' work? The whole output of apt-get is in $log"
    fi
    rm -f "$log"
}

# Prints the path of a CUDA 13 (or newer) compiler, or fails.
find_nvcc() {
    local nvcc major
    for nvcc in "${CUDACXX:-}" .cuda/bin/nvcc "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
        [ -n "$nvcc" ] && [ -x "$nvcc" ] || continue
        major=$("$nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
        if [ "${major:-0}" -ge 13 ]; then
            readlink -f "$nvcc"
            return
        fi
    done
    return 1
}

install_cuda() {
    find_nvcc >/dev/null && return
    echo "setup.sh: no CUDA 13 compiler found; fetching one into .cuda/"
    rm -rf .cuda.part
    # The wheels share one tree, nvidia/cu13, which is a toolkit but for the names CMake looks for.
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target .cuda.part \
        "${cuda_wheels[@]}" || complain 69 "could not fetch the CUDA compiler; is there a network?"
    local tree=.cuda.part/nvidia/cu13
    chmod +x "$tree"/bin/* "$tree"/nvvm/bin/cicc
    ln -sfn lib "$tree/lib64"
    ln -sfn libcudart.so.13 "$tree/lib/libcudart.so"
    rm -rf .cuda
    mv "$tree" .cuda
    rm -rf .cuda.part
    find_nvcc >/dev/null || complain 69 "the compiler fetched into .cuda/ does not start"
}

# The headers of the wheels above that the toolkit does not have, without the libraries.
install_cuda_headers() {
    local toolkit line wheel header folder
    toolkit=$(dirname "$(find_nvcc)")/..
    for line in "${cuda_library_wheels[@]}"; do
        read -r wheel header <<<"$line"
        [ -f "$toolkit/include/${header##*/}" ] || [ -f "/usr/include/${header##*/}" ] || [ -f ".cuda-libraries/$header" ] &&
            continue
        echo "setup.sh: no ${header##*/} in the CUDA toolkit; fetching $wheel for its headers into .cuda-libraries/"
        folder=$(mktemp -d)
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" "$wheel" ||
            complain 69 "could not fetch the headers of CUDA's libraries; is there a network?"
        python3 - "$folder" "$folder/headers" <<'PYTHON'
import pathlib, sys, zipfile
for wheel in pathlib.Path(sys.argv[1]).glob("*.whl"):
    with zipfile.ZipFile(wheel) as files:
        files.extractall(sys.argv[2], [name for name in files.namelist() if "include" in name.split("/")[:-1]])
PYTHON
        mkdir -p .cuda-libraries
        cp -r "$folder/headers/." .cuda-libraries/
        rm -rf "$folder"
    done
}

case "${1:-}" in
    "") install_packages ;;
    --cuda)
        packages+=("${cuda_packages[@]}")
        install_packages
        install_cuda
        install_cuda_headers
        ;;
    --list) printf '%s\n' "${packages[@]}" ;;
    --find-nvcc) find_nvcc ;;   # for test.sh and .ci/run
    *) complain 64 "unknown argument '$1'; known: --cuda, --list" ;;
esac
