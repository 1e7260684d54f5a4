# Zig's C++ compiler for one triple, see linux.cmake for what the leaf file says. It brings libc, libc++ and
# linker for every target; the ziglang package of the extra `zig` is enough.
#
#   TVMAKE_ZIG_TARGET  the target in Zig's words, where it is not TVMAKE_TARGET_TRIPLE
#   TVMAKE_GLIBC       oldest glibc that must run the programs, for example 2.28 (default: Zig's)
#   TVMAKE_ZIG         path of a zig to use instead of the Python package's
include_guard()
set(CMAKE_SYSTEM_NAME Linux)
include("${CMAKE_CURRENT_LIST_DIR}/linux.cmake")

# The `ziglang` of the Python that runs tvmake's compiler.
function(_tvmake_find_zig out)
  set(folder "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../../cmake/private")
  foreach(name IN ITEMS root files python)
    include("${folder}/${name}.cmake")
  endforeach()
  _tvmake_python_package(version folder ziglang)
  message(STATUS "tvmake: zig ${version} at ${folder}")
  set(${out} "${folder}/zig" PARENT_SCOPE)
endfunction()

if(NOT TVMAKE_ZIG)
  if(NOT "zig" IN_LIST TVMAKE_EXTRAS)
    list(APPEND TVMAKE_EXTRAS zig)
  endif()
  _tvmake_find_zig(_tvmake_zig)
  set(TVMAKE_ZIG "${_tvmake_zig}" CACHE FILEPATH "Zig, the cross compiler")
elseif(NOT EXISTS "${TVMAKE_ZIG}")
  _tvmake_fail(
    "tvmake"
    "TVMAKE_ZIG '${TVMAKE_ZIG}' does not exist"
    FIX "correct TVMAKE_ZIG, or leave it out for the ziglang package of Python"
  )
endif()

if(NOT TVMAKE_ZIG_TARGET)
  set(TVMAKE_ZIG_TARGET "${TVMAKE_TARGET_TRIPLE}")
endif()
if(TVMAKE_GLIBC AND TVMAKE_ZIG_TARGET MATCHES "-gnu[a-z]*$")
  string(APPEND TVMAKE_ZIG_TARGET ".${TVMAKE_GLIBC}")
endif()
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES TVMAKE_ZIG TVMAKE_GLIBC)

set(CMAKE_CXX_SCAN_FOR_MODULES OFF) # Zig brings no clang-scan-deps
set(CMAKE_C_COMPILER "${TVMAKE_ZIG}" cc -target ${TVMAKE_ZIG_TARGET})
set(CMAKE_CXX_COMPILER "${TVMAKE_ZIG}" c++ -target ${TVMAKE_ZIG_TARGET})
set(CMAKE_AR "${TVMAKE_ZIG}" CACHE FILEPATH "Archiver")
set(CMAKE_RANLIB "${TVMAKE_ZIG}" CACHE FILEPATH "Archive indexer")
# The first program that is linked makes Zig compile a libc++, and the first one of a debug build another one,
# some minutes in all. So CMake's own checks are optimised, which only a debug build is not.
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  set(CMAKE_TRY_COMPILE_CONFIGURATION Release)
endif()
foreach(_tvmake_language IN ITEMS C CXX)
  # Zig adds -g and the undefined-behaviour sanitizer unless told otherwise.
  string(APPEND CMAKE_${_tvmake_language}_FLAGS_INIT " -O2 -g0 -fno-sanitize=undefined")
  string(APPEND CMAKE_${_tvmake_language}_FLAGS_DEBUG_INIT " -O0")
  set(CMAKE_${_tvmake_language}_ARCHIVE_CREATE "<CMAKE_AR> ar qc <TARGET> <LINK_FLAGS> <OBJECTS>")
  set(CMAKE_${_tvmake_language}_ARCHIVE_APPEND "<CMAKE_AR> ar q <TARGET> <LINK_FLAGS> <OBJECTS>")
  set(CMAKE_${_tvmake_language}_ARCHIVE_FINISH "<CMAKE_RANLIB> ranlib <TARGET>")
endforeach()
if(TVMAKE_ZIG_TARGET MATCHES "-musl")
  string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT " -static")
endif()
