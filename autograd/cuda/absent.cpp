// A build without CUDA.
#include "autograd/cuda/copy.h"
#include "autograd/cuda/cudnn.h"
#include "autograd/cuda/gemm.h"
#include "autograd/cuda/runtime.h"
#include "configs/error.h"

namespace trainer::cuda {

namespace {

[[noreturn]] void fail() { throw Error(Exit::internal, "cuda: this program was built without CUDA"); }

}   // namespace

bool built_in() { return false; }
int device_count() { return 0; }
std::string why_absent() { return "this program was built without CUDA (-DTRAINER_CUDA=ON)"; }
Device open_device(int) { throw Error(Exit::system, "there is no GPU: " + why_absent()); }
const std::optional<Device>& opened_device() {
    static const std::optional<Device> none;
    return none;
}
std::size_t free_bytes() { fail(); }
void* allocate(std::size_t) { fail(); }
void release(void*) { fail(); }
std::byte* allocate_pinned(std::size_t) { fail(); }
void release_pinned(std::byte*) { fail(); }
void begin_copy(Direction, void*, std::size_t, const void*, std::size_t, std::size_t, std::size_t) { fail(); }
void copy_rows(Direction, void*, std::size_t, const void*, std::size_t, std::size_t, std::size_t) { fail(); }
void fill(void*, std::uint8_t, std::size_t) { fail(); }
void wait() {}
void* stream() { fail(); }
void set_gemm_options(GemmOptions) { fail(); }
std::string gemm_library() { fail(); }
bool cudnn_is_there() { return false; }
std::string cudnn_library() { fail(); }
std::string cudnn_absent() { fail(); }
std::string first_cudnn_refusal() { fail(); }
std::string gemm_numerics() { fail(); }

}   // namespace trainer::cuda
