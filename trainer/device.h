#pragma once

#include <string>

#include "autograd/place.h"
#include "comm/communicator.h"
#include "trainer/machine_memory.h"
#include "trainer/recipe.h"

namespace trainer {

// Where a recipe is computed, by all ranks alike: each opens a device of its own. With device: cuda Error(system) where
// one cannot be had or two ranks would share one, Error(bad_recipe) for what a GPU does not do; with auto that is the
// CPU's, unless the CPU does not do it either (training.precision: f16). Collective; `recipe.device` is the same at
// every rank.
Place open_place(const Recipe& recipe, Communicator& ranks);

// "NVIDIA H200 (compute capability 9.0, 139.72 GiB), cuBLASLt 13.1.0, cuDNN 9.19.0", or why there is no cuDNN; for the
// CPU why it is that, or "" where the recipe says so or the program knows nothing else.
std::string device_text(const Recipe& recipe, Place place);

// "held on the GPU 1.90 GiB, taken from its free memory 2.21 GiB, ": for tensors, and with what the libraries and the
// driver take besides; "" on the CPU.
std::string held_on_device_text(Place place);

// What is free on the opened device.
MemoryLeft memory_left_on_device();

}   // namespace trainer
