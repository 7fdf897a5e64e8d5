# CUDA: nvcc and what the programs are linked with. CMake 3.25's default architecture is one that CUDA 13 no longer has,
# so they are set by hand.
set(TRAINER_CUDA_ARCHITECTURES 80 90a 100 CACHE STRING "GPU architectures to compile for")
set(CMAKE_CUDA_ARCHITECTURES ${TRAINER_CUDA_ARCHITECTURES})
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(TRAINER_NVCC nvcc HINTS ${CMAKE_SOURCE_DIR}/.cuda/bin PATHS /usr/local/cuda/bin)
  if(NOT TRAINER_NVCC)
    message(FATAL_ERROR "TRAINER_CUDA is ON and no nvcc was found: run ./setup.sh --cuda, or set CUDACXX")
  endif()
  set(CMAKE_CUDA_COMPILER ${TRAINER_NVCC})
endif()
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13)
  message(FATAL_ERROR "CUDA 13 is needed; ${CMAKE_CUDA_COMPILER} is ${CMAKE_CUDA_COMPILER_VERSION}. Set CUDACXX, or run ./setup.sh --cuda")
endif()
# CMake's own module does not find a toolkit made of Python's packages; the compiler knows where its own is.
set(toolkit ${CMAKE_CUDA_COMPILER_TOOLKIT_ROOT})
find_library(TRAINER_CUDART cudart_static REQUIRED NO_DEFAULT_PATH HINTS ${CMAKE_CUDA_HOST_IMPLICIT_LINK_DIRECTORIES}
  ${toolkit}/lib64 ${toolkit}/lib ${toolkit}/targets/x86_64-linux/lib)
find_path(TRAINER_CUDA_INCLUDE cuda_runtime.h REQUIRED NO_DEFAULT_PATH HINTS ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES}
  ${toolkit}/include ${toolkit}/targets/x86_64-linux/include)

# Headers of the libraries that are opened at run time: the toolkit's or the system's, or those of Python's packages that
# setup.sh fetches. nvrtc.h is for cuDNN's frontend, which includes it.
set(fetched ${CMAKE_SOURCE_DIR}/.cuda-libraries)
add_library(cuda_headers INTERFACE)
target_include_directories(cuda_headers SYSTEM INTERFACE ${TRAINER_CUDA_INCLUDE})
foreach(header cublasLt.h nvrtc.h cudnn.h cudnn_frontend.h nccl.h)
  string(MAKE_C_IDENTIFIER TRAINER_INCLUDE_OF_${header} folder)
  find_path(${folder} ${header} HINTS ${TRAINER_CUDA_INCLUDE} ${fetched}/nvidia/cu13/include
    ${fetched}/nvidia/cudnn/include ${fetched}/nvidia/nccl/include ${fetched}/include)
  if(NOT ${folder})
    message(FATAL_ERROR "TRAINER_CUDA is ON and ${header} was not found: run ./setup.sh --cuda")
  endif()
  target_include_directories(cuda_headers SYSTEM INTERFACE ${${folder}})
endforeach()
add_compile_definitions(TRAINER_CUDA)

# What only programs for a device have; the emulator's twin is in tests/support/cuda_emulator.
add_library(cuda_runtime OBJECT autograd/cuda/runtime.cpp autograd/cuda/timer.cpp)
target_include_directories(cuda_runtime PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(cuda_runtime PRIVATE cuda_headers trainer_warnings)
add_subdirectory(cmake/cuda)
