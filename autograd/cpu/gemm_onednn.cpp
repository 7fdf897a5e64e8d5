#ifndef TRAINER_WITHOUT_ONEDNN

#include <omp.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "autograd/cpu/gemm_tile.h"
#include "autograd/cpu/isa.h"
#include "autograd/cpu/rows_kernels.h"
#include "autograd/memory.h"
#include "configs/error.h"

namespace trainer {

namespace {

using dnnl::memory;

// oneDNN takes the number of threads from OpenMP, both when it plans a primitive and when it runs one.
class OneThread {
public:
    OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
    ~OneThread() { omp_set_num_threads(before_); }
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;

private:
    int before_;
};

// oneDNN uses no more of the processor than our own kernels do.
dnnl::cpu_isa highest_isa() {
    switch (isa()) {
        case Isa::v2:
            return dnnl::cpu_isa::sse41;
        case Isa::v3:
            return dnnl::cpu_isa::avx2;
        case Isa::v4:
            return dnnl::cpu_isa::avx512_core;
        case Isa::v4bf16:
            return dnnl::cpu_isa::avx512_core_bf16;
        default:
            return dnnl::cpu_isa::all;
    }
}

const dnnl::engine& engine() {
    static const dnnl::engine instance = [] {
        dnnl::set_max_cpu_isa(highest_isa());
        dnnl::set_primitive_cache_capacity(0);   // Plans keeps them, and lets them go
        return dnnl::engine(dnnl::engine::kind::cpu, 0);
    }();
    return instance;
}

// Whether bf16 is multiplied as it is; otherwise tiles are converted and multiplied in f32.
bool multiplies_bf16() {
    static const bool library_does = [] {
        engine();
        const dnnl::cpu_isa library = dnnl::get_effective_cpu_isa();
        return library == dnnl::cpu_isa::avx512_core_bf16 || library == dnnl::cpu_isa::avx512_core_amx;
    }();
    return library_does && isa() >= Isa::v4bf16;
}

struct HashShape {
    std::size_t operator()(const TileShape& shape) const {
        std::uint64_t hash = 0;
        const auto mix = [&](std::int64_t value) {
            hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x9E3779B97F4A7C15u;
            hash ^= hash >> 29;
        };
        mix(shape.rows * 32 + static_cast<int>(shape.in) * 16 + static_cast<int>(shape.out) * 8 +
            (shape.transpose_a ? 4 : 0) + (shape.transpose_b ? 2 : 0) + (shape.accumulate ? 1 : 0));
        for (const std::int64_t value : {shape.columns, shape.depth, shape.a_stride, shape.b_stride, shape.c_stride})
            mix(value);
        return hash;
    }
};

struct Plan {
    explicit Plan(const TileShape& shape) {
        const auto type = [](DType dtype) {
            return dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
        };
        const auto strides = [](std::int64_t stride, bool transposed) {
            return transposed ? memory::dims{1, stride} : memory::dims{stride, 1};
        };
        a = {{shape.rows, shape.depth}, type(shape.in), strides(shape.a_stride, shape.transpose_a)};
        b = {{shape.depth, shape.columns}, type(shape.in), strides(shape.b_stride, shape.transpose_b)};
        c = {{shape.rows, shape.columns}, type(shape.out), strides(shape.c_stride, false)};
        dnnl::primitive_attr attributes;
        attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
        if (shape.accumulate) {
            dnnl::post_ops sum;
            sum.append_sum(1.0f);
            attributes.set_post_ops(sum);
        }
        const OneThread one_thread;
        const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a, b, c), attributes, engine());
        scratch = description.scratchpad_desc();
        primitive = dnnl::matmul(description);
    }

    memory::desc a, b, c, scratch;
    dnnl::matmul primitive;
};

// oneDNN writes to the memory that it asks for without looking whether it was given any, when it generates code: up to
// 2 MiB for a plan, more when it multiplies f32 for the first time. So there has to be enough before.
constexpr std::size_t room_for_code = std::size_t{32} << 20;

bool has_room() {
    void* const address = ::mmap(nullptr, room_for_code, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) return false;
    ::munmap(address, room_for_code);
    return true;
}

// Lets oneDNN generate its own code for products of f32 here, where no other thread takes the room that it needs.
void generate_f32_code() {
    const OneThread one_thread;
    constexpr dnnl::memory::dim size = 64;
    const std::vector<float> ones(size * size, 1.0f);
    std::vector<float> product(size * size);
    dnnl::sgemm('N', 'N', size, size, size, 1.0f, ones.data(), size, ones.data(), size, 0.0f, product.data(), size);
}

// Has the calling thread and those that it multiplies with let plans go that are forgotten.
void let_forgotten_go();
void forget_plans();

// Plans of all threads. Forgotten all at once when there are too many, which ragged shapes could bring about, and when
// there is no room for more.
class Plans {
public:
    Plans() { ask_for_room(forget_plans); }

    std::shared_ptr<const Plan> get(const TileShape& shape) {
        const std::lock_guard lock(mutex_);
        if (const auto found = by_shape_.find(shape); found != by_shape_.end()) return found->second;
        if (by_shape_.size() >= most) forget();
        if (!has_room()) {
            forget();
            release_cached_memory();
            require(has_room(), Exit::out_of_memory,
                    "out of memory: {} bytes for the code of a matrix product cannot be had", room_for_code);
        }
        std::shared_ptr<const Plan> plan;
        try {
            if (!has_f32_code_ && shape.in == DType::f32) generate_f32_code();
            has_f32_code_ = has_f32_code_ || shape.in == DType::f32;
            plan = std::make_shared<const Plan>(shape);
        } catch (const dnnl::error& error) {
            require(error.status != dnnl_out_of_memory, Exit::out_of_memory,
                    "out of memory: the code of a matrix product has no room");
            fail(Exit::internal, "gemm: oneDNN refuses ({}, {}) · ({}, {}): {}", shape.rows, shape.depth, shape.depth,
                 shape.columns, error.what());
        }
        by_shape_.emplace(shape, plan);
        return plan;
    }

    void give_room() {
        const std::lock_guard lock(mutex_);
        forget();
    }

    // Changes when all plans are forgotten. A thread that holds some of before lets them go when it sees that.
    unsigned generation() const { return generation_; }

private:
    // Lengths of packed rows differ from step to step, and each makes some: as many as a few steps of one length need.
    static constexpr std::size_t most = 512;

    void forget() {
        by_shape_.clear();
        ++generation_;
        let_forgotten_go();
    }

    std::atomic<unsigned> generation_ = 0;
    std::mutex mutex_;
    bool has_f32_code_ = false;
    std::unordered_map<TileShape, std::shared_ptr<const Plan>, HashShape> by_shape_;
};

Plans& plans() {
    static Plans instance;
    return instance;
}

// A plan bound to one thread: operands are handles whose addresses change with every run.
class Bound {
public:
    explicit Bound(const TileShape& shape)
        : plan_(plans().get(shape)),
          a_(plan_->a, engine(), nullptr),
          b_(plan_->b, engine(), nullptr),
          c_(plan_->c, engine(), nullptr),
          scratch_(plan_->scratch, engine(), nullptr) {}

    std::size_t scratch_bytes() const { return plan_->scratch.get_size(); }

    void run(const dnnl::stream& stream, void* c, const void* a, const void* b, void* scratch) {
        a_.set_data_handle(const_cast<void*>(a));
        b_.set_data_handle(const_cast<void*>(b));
        c_.set_data_handle(c);
        scratch_.set_data_handle(scratch);
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, a_.get()},
                                             {DNNL_ARG_WEIGHTS, b_.get()},
                                             {DNNL_ARG_DST, c_.get()},
                                             {DNNL_ARG_SCRATCHPAD, scratch_.get()}};
        const dnnl_status_t status = dnnl_primitive_execute(plan_->primitive.get(), stream.get(), 4, arguments);
        require(status != dnnl_out_of_memory, Exit::out_of_memory, "out of memory: a matrix product has no room");
        check(status == dnnl_success, "gemm: oneDNN fails with status {}", static_cast<int>(status));
    }

private:
    std::shared_ptr<const Plan> plan_;
    memory a_, b_, c_, scratch_;
};

// Memory of one thread that only grows.
template <typename Element>
class Buffer {
public:
    Element* at_least(std::size_t count) {
        if (count > count_) {
            constexpr std::size_t alignment = 4096;
            const std::size_t bytes = (count * sizeof(Element) + alignment - 1) / alignment * alignment;
            data_.reset(static_cast<Element*>(std::aligned_alloc(alignment, bytes)));
            require(data_ != nullptr, Exit::out_of_memory, "out of memory: {} bytes of matmul workspace", bytes);
            count_ = count;
        }
        return data_.get();
    }

private:
    struct Free {
        void operator()(Element* data) const { std::free(data); }
    };
    std::unique_ptr<Element, Free> data_;
    std::size_t count_ = 0;
};

// What one thread has bound to plans of one generation.
class BoundPlans {
public:
    BoundPlans() = default;
    ~BoundPlans() { clear(); }
    BoundPlans(const BoundPlans&) = delete;
    BoundPlans& operator=(const BoundPlans&) = delete;

    Bound& get(const TileShape& shape) {
        let_forgotten_go();
        if (const auto found = by_shape_.find(shape); found != by_shape_.end()) return found->second;
        Bound made(shape);   // may have all that are here let go
        Bound& bound = by_shape_.emplace(shape, std::move(made)).first->second;
        ++of_all_threads;
        return bound;
    }
    void let_forgotten_go() {
        const unsigned now = plans().generation();
        if (now != generation_) clear();
        generation_ = now;
    }

    inline static std::atomic<std::size_t> of_all_threads = 0;   // how many are bound

private:
    void clear() {
        of_all_threads -= by_shape_.size();
        by_shape_.clear();
    }

    unsigned generation_ = 0;
    std::unordered_map<TileShape, Bound, HashShape> by_shape_;
};

BoundPlans& bound_plans() {
    thread_local BoundPlans instance;
    return instance;
}

// Whether the calling thread has begun products: then the threads of its parallel regions have been started.
thread_local bool begins_products = false;

void let_forgotten_go() {
    if (BoundPlans::of_all_threads == 0) return;
    if (omp_get_level() > 0 || !begins_products) {   // the others do so with their next product
        bound_plans().let_forgotten_go();
    } else {
#pragma omp parallel
        bound_plans().let_forgotten_go();
    }
}

void forget_plans() { plans().give_room(); }

void run_natively(const TileShape& shape, void* c, const void* a, const void* b) {
    thread_local const dnnl::stream stream(engine());
    thread_local Buffer<std::byte> scratch;
    Bound& product = bound_plans().get(shape);
    std::byte* workspace = scratch.at_least(product.scratch_bytes());
    if (omp_get_max_threads() == 1 || omp_in_parallel()) {
        product.run(stream, c, a, b, workspace);
    } else {
        const OneThread one_thread;
        product.run(stream, c, a, b, workspace);
    }
}

void widen(const void* in, std::int64_t rows, std::int64_t columns, std::int64_t stride, float* out) {
    for (std::int64_t row = 0; row < rows; ++row) TRAINER_PICK(convert_row)
    (static_cast<const bf16*>(in) + row * stride, DType::bf16, out + row * columns, columns);
}

// The f32 product that stands for one of bf16 operands or result: what is not f32 lies in buffers without gaps.
TileShape widened(const TileShape& shape) {
    TileShape wide = shape;
    wide.in = wide.out = DType::f32;
    if (shape.in != DType::f32) {
        wide.a_stride = shape.transpose_a ? shape.rows : shape.depth;
        wide.b_stride = shape.transpose_b ? shape.depth : shape.columns;
    }
    if (shape.out != DType::f32) wide.c_stride = shape.columns;
    return wide;
}

// bf16 operands and result by way of f32.
void run_widened(const TileShape& shape, void* c, const void* a, const void* b) {
    thread_local Buffer<float> a_buffer, b_buffer, c_buffer;
    const TileShape wide = widened(shape);
    if (shape.in == DType::bf16) {
        const auto operand = [](Buffer<float>& buffer, const void* in, std::int64_t rows, std::int64_t columns,
                                std::int64_t stride) {
            float* out = buffer.at_least(static_cast<std::size_t>(rows * columns));
            widen(in, rows, columns, stride, out);
            return out;
        };
        a = shape.transpose_a ? operand(a_buffer, a, shape.depth, shape.rows, shape.a_stride)
                              : operand(a_buffer, a, shape.rows, shape.depth, shape.a_stride);
        b = shape.transpose_b ? operand(b_buffer, b, shape.columns, shape.depth, shape.b_stride)
                              : operand(b_buffer, b, shape.depth, shape.columns, shape.b_stride);
    }
    if (shape.out == DType::f32) {
        run_natively(wide, c, a, b);
        return;
    }
    float* sums = c_buffer.at_least(static_cast<std::size_t>(shape.rows * shape.columns));
    if (shape.accumulate) widen(c, shape.rows, shape.columns, shape.c_stride, sums);
    run_natively(wide, sums, a, b);
    for (std::int64_t row = 0; row < shape.rows; ++row) TRAINER_PICK(convert_row)
    (sums + row * shape.columns, DType::f32, static_cast<bf16*>(c) + row * shape.c_stride, shape.columns);
}

bool is_native(const TileShape& shape) {
    return (shape.in == DType::f32 && shape.out == DType::f32) || (shape.in == DType::bf16 && multiplies_bf16());
}

}   // namespace

std::string gemm_library() {
    engine();
    const dnnl_version_t* version = dnnl_version();
    char text[64];
    std::snprintf(text, sizeof text, "oneDNN %d.%d.%d with instruction set %#x", version->major, version->minor,
                  version->patch, static_cast<unsigned>(dnnl::get_effective_cpu_isa()));
    return text;
}

void prepare_tile(const TileShape& shape) {
    begins_products = true;
    plans().get(is_native(shape) ? shape : widened(shape));
}

void run_tile(const TileShape& shape, void* c, const void* a, const void* b) {
    if (is_native(shape)) {
        run_natively(shape, c, a, b);
    } else {
        run_widened(shape, c, a, b);
    }
}

}   // namespace trainer

#endif
