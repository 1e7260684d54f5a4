# What all Linux toolchains share. The leaf file says:
#   CMAKE_SYSTEM_PROCESSOR  architecture, as the kernel of such a machine calls it
#   TVMAKE_TARGET_TRIPLE    LLVM triple of the kernels
#   TVMAKE_GNU_TRIPLE       how GCC and Debian call it, where that differs
# and includes gcc.cmake, zig.cmake or clang.cmake, each of which includes this file.
#
# Options (-D, or in a preset) that a project may set:
#   TVMAKE_TARGET_CPU, TVMAKE_TARGET_FEATURES  the oldest CPU that must run the kernels, in LLVM's words
#   CMAKE_CROSSCOMPILING_EMULATOR              instead of qemu-user
include_guard()
include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/private/errors.cmake")

if(NOT TVMAKE_GNU_TRIPLE)
  set(TVMAKE_GNU_TRIPLE "${TVMAKE_TARGET_TRIPLE}")
endif()
if(
  DEFINED CACHE{TVMAKE_TARGET_TRIPLE}
  AND NOT "$CACHE{TVMAKE_TARGET_TRIPLE}" STREQUAL TVMAKE_TARGET_TRIPLE
)
  _tvmake_fail(
    "tvmake"
    "TVMAKE_TARGET_TRIPLE is $CACHE{TVMAKE_TARGET_TRIPLE}, but the toolchain is for ${TVMAKE_TARGET_TRIPLE}"
    FIX "leave out TVMAKE_TARGET_TRIPLE, or choose the toolchain of that target"
  )
endif()
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES TVMAKE_TARGET_TRIPLE CMAKE_CROSSCOMPILING_EMULATOR)

# Host tools from the host; libraries and headers from the target; packages from both, as tvmake's own is
# one of the host.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)

# Programs of another architecture run under qemu-user. Without it the build goes on; a test then says
# what is missing.
function(_tvmake_find_emulator out)
  set(name "${CMAKE_SYSTEM_PROCESSOR}")
  if(name MATCHES "^armv")
    set(name arm)
  endif()
  find_program(qemu NAMES qemu-${name} qemu-${name}-static NO_CACHE NO_CMAKE_FIND_ROOT_PATH)
  if(NOT qemu)
    set(script "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/missing_emulator.sh")
    set(${out} "/bin/sh;${script};qemu-${name}" PARENT_SCOPE)
    return()
  endif()
  set(command "${qemu}")
  foreach(root IN ITEMS "${CMAKE_SYSROOT}" "/usr/${TVMAKE_GNU_TRIPLE}")
    if(root AND IS_DIRECTORY "${root}")
      list(APPEND command -L "${root}") # where the target's dynamic loader and libc are
      break()
    endif()
  endforeach()
  set(${out} "${command}" PARENT_SCOPE)
endfunction()

if(
  NOT DEFINED CMAKE_CROSSCOMPILING_EMULATOR
  AND NOT CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL CMAKE_SYSTEM_PROCESSOR
)
  _tvmake_find_emulator(CMAKE_CROSSCOMPILING_EMULATOR)
endif()
