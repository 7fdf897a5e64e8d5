# Warnings in our code are errors; headers of libraries are SYSTEM and stay silent.
option(TRAINER_WARNINGS_AS_ERRORS "Switch off to build with a compiler newer than the tested g++ 12" ON)
add_library(trainer_warnings INTERFACE)
# g++ 12 reports std::string operations as overlapping copies when it inlines them (its bug 105329).
target_compile_options(trainer_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow=local -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wunused
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>
  $<$<BOOL:${TRAINER_WARNINGS_AS_ERRORS}>:-Werror>)
