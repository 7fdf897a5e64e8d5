# A room is a top-level folder: one OBJECT library of all its sources. A new file needs no edit here.
set(TRAINER_ROOMS "" CACHE INTERNAL "")

# add_room(NAME [PRIVATE targets…] [PUBLIC targets…])
function(add_room name)
  cmake_parse_arguments(ROOM "" "" "PRIVATE;PUBLIC" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${name}/*.cpp)
  if(TRAINER_CUDA)
    list(FILTER sources EXCLUDE REGEX "/autograd/cuda/(absent|runtime|timer)\\.cpp$")   # for the last two see Cuda.cmake
  else()
    list(FILTER sources EXCLUDE REGEX "/autograd/cuda/[b-z][^/]*\\.cpp$|/comm/nccl\\.cpp$")   # all but absent.cpp
  endif()
  list(FILTER sources EXCLUDE REGEX "/trainer/main\\.cpp$|/comm/mpi\\.cpp$|\\.simd\\.cpp$")
  add_library(room_${name} OBJECT ${sources})
  target_include_directories(room_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_compile_options(room_${name} PRIVATE -march=x86-64-v2)
  target_link_libraries(room_${name} PRIVATE trainer_warnings ${ROOM_PRIVATE} PUBLIC ${ROOM_PUBLIC} OpenMP::OpenMP_CXX)
  set(TRAINER_ROOMS ${TRAINER_ROOMS} room_${name} CACHE INTERNAL "")
endfunction()

# Each <file>.simd.cpp of a room is compiled once per instruction set, with TRAINER_ISA naming the variant's
# namespace; <file>_bf16.simd.cpp uses AVX512-BF16 and is compiled for v4bf16 alone. The program picks one at run time
# (autograd/cpu/isa.h).
function(add_simd_variants name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${name}/*.simd.cpp)
  set(bf16_sources ${sources})
  list(FILTER bf16_sources INCLUDE REGEX "_bf16\\.simd\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "_bf16\\.simd\\.cpp$")
  set(v4 -march=x86-64-v4 -mprefer-vector-width=512)
  add_simd_variant(${name} v2 "-march=x86-64-v2" "${sources}")
  add_simd_variant(${name} v3 "-march=x86-64-v3" "${sources}")
  add_simd_variant(${name} v4 "${v4}" "${sources}")
  add_simd_variant(${name} v4bf16 "${v4};-mavx512bf16" "${bf16_sources}")
endfunction()

function(add_simd_variant name isa flags sources)
  if(NOT sources)
    return()
  endif()
  add_library(room_${name}_${isa} OBJECT ${sources})
  target_include_directories(room_${name}_${isa} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(room_${name}_${isa} PRIVATE TRAINER_ISA=${isa})
  target_compile_options(room_${name}_${isa} PRIVATE ${flags} -O3 -fno-math-errno -fno-trapping-math -Wno-psabi)
  target_link_libraries(room_${name}_${isa} PRIVATE trainer_warnings)
  set(TRAINER_ROOMS ${TRAINER_ROOMS} room_${name}_${isa} CACHE INTERNAL "")
endfunction()

# Links an executable with every room, and with the GPU's kernels or, after EMULATED, their twins. Its functions can be
# seen by the modules that it loads.
function(target_link_rooms target)
  cmake_parse_arguments(ROOMS "EMULATED" "" "" ${ARGN})
  if(ROOMS_EMULATED)
    target_link_libraries(${target} PRIVATE cuda_emulated)
    set_target_properties(${target} PROPERTIES BUILD_RPATH ${CMAKE_BINARY_DIR}/tests/fake_cuda)
    target_link_options(${target} PRIVATE -Wl,--disable-new-dtags)   # before LD_LIBRARY_PATH, which may have the real one
    add_dependencies(${target} fake_cublaslt fake_cudnn)
  elseif(TRAINER_CUDA)
    target_link_libraries(${target} PRIVATE cuda_kernels cuda_runtime ${TRAINER_CUDART} ${CMAKE_DL_LIBS} rt)
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
  endif()
  target_link_options(${target} PRIVATE -rdynamic)
  target_link_libraries(${target} PRIVATE trainer_warnings ${TRAINER_ROOMS} OpenMP::OpenMP_CXX yaml-cpp
    spdlog::spdlog $<TARGET_NAME_IF_EXISTS:Dnnl::dnnl> Pcre2::pcre2 OpenSSL::Crypto)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
endfunction()

# comm/mpi.cpp as a module beside the program, which loads it (comm/mpi_module.h) and gives it its own functions. Found
# beside the programs of tests too.
function(add_mpi_module)
  if(TRAINER_MPI STREQUAL "OFF")
    return()
  endif()
  if(TRAINER_MPI STREQUAL "ON")
    find_package(MPI REQUIRED COMPONENTS C)
  else()
    find_package(MPI QUIET COMPONENTS C)
  endif()
  if(NOT MPI_C_FOUND)
    message(STATUS "MPI was not found: mpirun and srun --mpi=pmix will not be understood")
    return()
  endif()
  add_library(trainer_mpi MODULE comm/mpi.cpp)
  set_target_properties(trainer_mpi PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_include_directories(trainer_mpi PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_options(trainer_mpi PRIVATE -march=x86-64-v2)
  target_compile_definitions(trainer_mpi PRIVATE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)   # the C interface only
  target_link_libraries(trainer_mpi PRIVATE trainer_warnings MPI::MPI_C)
  add_custom_command(TARGET trainer_mpi POST_BUILD
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/tests
    COMMAND ${CMAKE_COMMAND} -E create_symlink ../trainer_mpi.so ${CMAKE_BINARY_DIR}/tests/trainer_mpi.so)
endfunction()
