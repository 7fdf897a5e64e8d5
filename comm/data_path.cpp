#include "comm/data_path.h"

#include <algorithm>
#include <vector>

#include "comm/collective.h"
#include "comm/nccl.h"
#include "comm/parameter_slice.h"
#include "comm/together.h"
#include "configs/error.h"

namespace trainer {

namespace {

class HostPath : public DataPath {
public:
    HostPath(Communicator& ranks, Place place, std::string why) : DataPath(ranks, place), why_(std::move(why)) {}

    void all_to_all(std::span<const Tensor> send, std::span<const Tensor> receive) override {
        std::vector<Tensor> out, in;
        const auto own = static_cast<std::size_t>(ranks().rank());
        for (std::size_t rank = 0; rank < send.size(); ++rank) {
            out.push_back(rank == own ? Tensor() : at_host(send[rank]));
            in.push_back(rank == own ? Tensor() : room_at_host(receive[rank]));
        }
        std::vector<std::span<const std::byte>> sent;
        for (const Tensor& tensor : out) sent.push_back(bytes(tensor));
        ranks().all_to_all(sent, all_bytes(in));
        for (std::size_t rank = 0; rank < in.size(); ++rank)
            if (rank != own) put_back(in[rank], receive[rank]);
    }

    void all_gather(const Tensor& send, std::span<const Tensor> receive) override {
        std::vector<Tensor> in;
        for (const Tensor& tensor : receive) in.push_back(room_at_host(tensor));
        const Tensor out = at_host(send);
        ranks().all_gather(bytes(out), all_bytes(in));
        for (std::size_t rank = 0; rank < in.size(); ++rank) put_back(in[rank], receive[rank]);
    }

    void all_reduce(const Tensor& values) override {
        if (place().is_meta()) return;
        const Tensor summed = at_host(values);
        ranks().all_reduce(std::span(summed.data<float>(), static_cast<std::size_t>(summed.elements())));
        put_back(summed, values);
    }

    std::string text() const override { return why_.empty() ? "" : "the host's memory, which takes longer: " + why_; }

private:
    // Where the communicator can read and write: the tensor itself, or for what lies on a device a tensor of its shape.
    Tensor room_at_host(const Tensor& tensor) const {
        return place().is_cuda() ? Tensor::empty(tensor.shape(), tensor.dtype()) : tensor;
    }
    Tensor at_host(const Tensor& tensor) const {
        Tensor out = room_at_host(tensor);
        if (place().is_cuda()) copy(tensor, out);
        return out;
    }
    void put_back(const Tensor& from, Tensor to) const {
        if (place().is_cuda()) copy(from, to);
    }

    static std::span<std::byte> bytes(const Tensor& tensor) {
        return tensor.defined() ? bytes_of(tensor) : std::span<std::byte>();
    }
    static std::vector<std::span<std::byte>> all_bytes(const std::vector<Tensor>& tensors) {
        std::vector<std::span<std::byte>> all;
        for (const Tensor& tensor : tensors) all.push_back(bytes(tensor));
        return all;
    }

    std::string why_;
};

#ifdef TRAINER_CUDA

struct Library {
    std::string version;   // "" where it cannot be used
    std::string why;
};

Library library_here() {
    try {
        return {nccl_version(), ""};
    } catch (const Error& error) {
        return {"", error.what()};
    }
}

// Why the ranks cannot use NCCL; "" where they can. The same at every rank.
std::string why_no_nccl(Communicator& ranks, const Library& here) {
    const std::vector<std::string> versions = gather_texts(ranks, here.version);
    const std::vector<std::string> reasons = gather_texts(ranks, here.why);
    for (std::size_t rank = 0; rank < reasons.size(); ++rank)
        if (!reasons[rank].empty())
            return std::count(reasons.begin(), reasons.end(), reasons[rank]) == ranks.size()
                       ? reasons[rank]
                       : ranks.name_of(static_cast<int>(rank)) + ": " + reasons[rank];
    for (std::size_t rank = 1; rank < versions.size(); ++rank)
        if (versions[rank] != versions[0])
            throw AgreedError(
                Exit::system,
                format("the ranks have different versions of NCCL: {} has {}, {} has {}; install the same "
                       "on every host (or hide it from all: without NCCL they use the host's memory)",
                       ranks.name_of(0), versions[0], ranks.name_of(static_cast<int>(rank)), versions[rank]));
    return "";
}

#endif

}   // namespace

std::unique_ptr<DataPath> make_host_path(Communicator& ranks, Place place, const std::string& why) {
    return std::make_unique<HostPath>(ranks, place, why);
}

std::unique_ptr<DataPath> open_data_path(Communicator& ranks, Place place, [[maybe_unused]] OnLost on_failure) {
#ifdef TRAINER_CUDA
    if (place.is_cuda() && ranks.size() > 1) {
        const std::string why = why_no_nccl(ranks, library_here());
        return why.empty() ? make_nccl_path(ranks, place, std::move(on_failure)) : make_host_path(ranks, place, why);
    }
#endif
    return make_host_path(ranks, place);
}

}   // namespace trainer
