# tvmake: turns a model file into a C++ library, inside of a CMake build.
#
# Reached by add_subdirectory(), FetchContent or find_package(tvmake); defines the public functions
#   tvmake_add_model  tvmake_add_harness  tvmake_add_verify_test  tvmake_copy_weights  tvmake_install_model
#   tvmake_add_wheel_module  tvmake_runtime
# each described in the file of its name. Variables that steer them (as -D options, in a preset or in a
# toolchain file):
#   TVMAKE_PYTHON            the Python that runs the compiler (default: see private/python.cmake)
#   TVMAKE_EXTRAS            groups of optional requirements for that Python: test, zig
#   TVMAKE_CACHE_DIR         folder shared by build trees (default ~/.cache/tvmake; also in the environment)
#   TVMAKE_TVM_SOURCE_DIR    a full checkout of TVM to take the runtime's sources from, instead of the wheels
#   TVMAKE_COMPILE_JOBS      how many models are compiled at a time (default 2)
#   TVMAKE_TARGET_TRIPLE, TVMAKE_TARGET_CPU, TVMAKE_TARGET_FEATURES
#                            what the toolchain builds for, where the compiler does not tell

if(CMAKE_VERSION VERSION_LESS 3.25)
  message(
    FATAL_ERROR
    "tvmake needs CMake 3.25 or later, this is ${CMAKE_VERSION}\n  fix: pip install cmake"
  )
endif()
cmake_policy(PUSH)
cmake_policy(VERSION 3.25...3.31)

foreach(
  _tvmake_file
  IN
  ITEMS
    private/root
    private/errors
    private/arguments
    private/files
    private/python
    private/generator
    private/target
    private/components
    private/sources
    private/library
    private/model
    private/nanobind
    private/package
    private/provenance
    tvmake_runtime
    tvmake_add_model
    tvmake_add_harness
    tvmake_add_verify_test
    tvmake_add_wheel_module
    tvmake_copy_weights
    tvmake_install_model
)
  include("${CMAKE_CURRENT_LIST_DIR}/${_tvmake_file}.cmake")
endforeach()
unset(_tvmake_file)
cmake_policy(POP)
