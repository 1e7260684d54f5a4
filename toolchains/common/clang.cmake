# Clang for one triple, with libc and libstdc++ from a sysroot; see linux.cmake for what the leaf says.
#
#   CMAKE_SYSROOT  the target's root folder: a copy of a device's /usr/include, /usr/lib and /lib, an SDK,
#                  or what debootstrap makes. Left out, Clang looks where Debian's cross packages are.
include_guard()
set(CMAKE_SYSTEM_NAME Linux)
include("${CMAKE_CURRENT_LIST_DIR}/linux.cmake")

if(CMAKE_SYSROOT AND NOT IS_DIRECTORY "${CMAKE_SYSROOT}")
  _tvmake_fail(
    "tvmake"
    "CMAKE_SYSROOT '${CMAKE_SYSROOT}' is no folder"
    EXPECTED "the root folder of a system for ${TVMAKE_TARGET_TRIPLE}"
  )
endif()
foreach(_tvmake_language IN ITEMS C/clang CXX/clang++)
  get_filename_component(_tvmake_program "${_tvmake_language}" NAME)
  get_filename_component(_tvmake_language "${_tvmake_language}" DIRECTORY)
  set(CMAKE_${_tvmake_language}_COMPILER_TARGET "${TVMAKE_GNU_TRIPLE}")
  if(NOT CMAKE_${_tvmake_language}_COMPILER)
    find_program(_tvmake_compiler NAMES ${_tvmake_program} NO_CACHE NO_CMAKE_FIND_ROOT_PATH)
    if(NOT _tvmake_compiler)
      _tvmake_fail("tvmake" "${_tvmake_program} is not on the PATH" FIX "apt-get install clang lld")
    endif()
    set(CMAKE_${_tvmake_language}_COMPILER "${_tvmake_compiler}")
    unset(_tvmake_compiler)
  endif()
endforeach()
# The host's linker knows the host's architecture only; LLVM's knows all.
find_program(_tvmake_linker NAMES ld.lld NO_CACHE NO_CMAKE_FIND_ROOT_PATH)
if(_tvmake_linker)
  foreach(_tvmake_kind IN ITEMS EXE SHARED MODULE)
    string(APPEND CMAKE_${_tvmake_kind}_LINKER_FLAGS_INIT " -fuse-ld=lld")
  endforeach()
  unset(_tvmake_linker)
endif()
