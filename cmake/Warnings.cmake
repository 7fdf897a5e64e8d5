# Warnings in our code are errors; headers of libraries are SYSTEM and stay silent.
add_library(trainer_warnings INTERFACE)
target_compile_options(trainer_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow=local -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wunused -Werror)
