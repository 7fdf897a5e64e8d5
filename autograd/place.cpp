#include "autograd/place.h"

#include "configs/error.h"

namespace trainer {

void refuse_cuda(const std::source_location& where) {
    fail(Exit::bad_recipe,
         "device: cuda: this recipe needs {} ({}:{}), which has no kernel for a GPU yet; use device: cpu",
         where.function_name(), where.file_name(), where.line());
}

}   // namespace trainer
