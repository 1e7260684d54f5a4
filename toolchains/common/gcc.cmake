# Debian's GCC for one triple, see linux.cmake for what the leaf file says. On a machine of the target's own
# architecture this is a native build.
include_guard()
if(NOT CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL CMAKE_SYSTEM_PROCESSOR)
  set(CMAKE_SYSTEM_NAME Linux)
endif()
include("${CMAKE_CURRENT_LIST_DIR}/linux.cmake")

foreach(_tvmake_language IN ITEMS C/gcc CXX/g++)
  get_filename_component(_tvmake_program "${_tvmake_language}" NAME)
  get_filename_component(_tvmake_language "${_tvmake_language}" DIRECTORY)
  if(CMAKE_${_tvmake_language}_COMPILER)
    continue() # the project's choice, or found by an earlier run
  endif()
  find_program(
    _tvmake_compiler
    NAMES ${TVMAKE_GNU_TRIPLE}-${_tvmake_program} NO_CACHE
    NO_CMAKE_FIND_ROOT_PATH
  )
  if(NOT _tvmake_compiler)
    string(REPLACE "_" "-" _tvmake_package "g++-${TVMAKE_GNU_TRIPLE}")
    _tvmake_fail(
      "tvmake"
      "the compiler ${TVMAKE_GNU_TRIPLE}-${_tvmake_program} is not on the PATH"
      FIX
        "apt-get install ${_tvmake_package}, or use the toolchain zig-${TVMAKE_TARGET_TRIPLE}, which needs nothing but pip"
    )
  endif()
  set(CMAKE_${_tvmake_language}_COMPILER "${_tvmake_compiler}")
  unset(_tvmake_compiler)
endforeach()

if(CMAKE_SYSTEM_NAME)
  list(APPEND CMAKE_FIND_ROOT_PATH "/usr/${TVMAKE_GNU_TRIPLE}")
endif()
