# What the toolchain builds for, in LLVM's words. Toolchain files may say it with TVMAKE_TARGET_TRIPLE,
# TVMAKE_TARGET_CPU and TVMAKE_TARGET_FEATURES; otherwise the compiler is asked.

# Set <out> to the target triple: architecture, system and ABI, without a vendor.
function(_tvmake_target_triple out)
  if(TVMAKE_TARGET_TRIPLE)
    set(triple "${TVMAKE_TARGET_TRIPLE}")
  elseif(CMAKE_CXX_COMPILER_TARGET)
    set(triple "${CMAKE_CXX_COMPILER_TARGET}")
  else()
    separate_arguments(first_arguments NATIVE_COMMAND "${CMAKE_CXX_COMPILER_ARG1}")
    execute_process(
      COMMAND "${CMAKE_CXX_COMPILER}" ${first_arguments} -dumpmachine
      OUTPUT_VARIABLE triple
      ERROR_VARIABLE error
      RESULT_VARIABLE result
      OUTPUT_STRIP_TRAILING_WHITESPACE
      ERROR_STRIP_TRAILING_WHITESPACE
    )
    if(NOT result EQUAL 0 OR NOT triple MATCHES "^[A-Za-z0-9_.-]+$")
      _tvmake_fail(
        "tvmake"
        "'${CMAKE_CXX_COMPILER} -dumpmachine' does not tell the target: ${error}"
        FIX "set TVMAKE_TARGET_TRIPLE, for example in the toolchain file"
      )
    endif()
  endif()
  _tvmake_normalise_triple(triple "${triple}")
  _tvmake_check_triple("${triple}")
  set(${out} "${triple}" PARENT_SCOPE)
endfunction()

# x86_64-pc-linux-gnu, x86_64-redhat-linux -> x86_64-linux-gnu; aarch64-linux-gnu.2.28 -> aarch64-linux-gnu
function(_tvmake_normalise_triple out triple)
  string(REGEX REPLACE "(gnu[a-z0-9]*|musl[a-z0-9]*)\\.[0-9.]+$" "\\1" triple "${triple}")
  string(REPLACE "-" ";" parts "${triple}")
  list(LENGTH parts length)
  if(length GREATER 2)
    list(GET parts 1 vendor)
    list(GET parts 2 system)
    if(system STREQUAL "linux" AND NOT vendor STREQUAL "none")
      list(REMOVE_AT parts 1)
    endif()
  endif()
  if(parts MATCHES ";linux$")
    list(APPEND parts "gnu")
  endif()
  list(JOIN parts "-" triple)
  set(${out} "${triple}" PARENT_SCOPE)
endfunction()

# Kernels and C++ must be of one kind: the compiler's pointer size and byte order tell.
function(_tvmake_check_triple triple)
  set(bits 64)
  if(triple MATCHES "^(arm|thumb|i[3-6]86|riscv32|mips-|mipsel|powerpc-|wasm32)")
    set(bits 32)
  endif()
  math(EXPR compiler_bits "${CMAKE_SIZEOF_VOID_P} * 8")
  if(NOT bits EQUAL compiler_bits)
    _tvmake_fail(
      "tvmake"
      "the C++ compiler makes ${compiler_bits}-bit code, but the target is ${triple}"
      EXPECTED "a compiler and flags for ${bits} bits"
      FIX "set TVMAKE_TARGET_TRIPLE to what the compiler flags (-m32?) make"
    )
  endif()
  set(order LITTLE_ENDIAN)
  if(triple MATCHES "^(aarch64_be|armeb|powerpc(64)?-|ppc(64)?-|s390x|mips(64)?-|sparc)")
    set(order BIG_ENDIAN)
  endif()
  if(CMAKE_CXX_BYTE_ORDER AND NOT CMAKE_CXX_BYTE_ORDER STREQUAL order)
    _tvmake_fail(
      "tvmake"
      "the C++ compiler is ${CMAKE_CXX_BYTE_ORDER}, but the target ${triple} is not"
      FIX "correct TVMAKE_TARGET_TRIPLE or the toolchain file"
    )
  endif()
endfunction()

# The languages, versions and tools that the public functions rely on.
function(_tvmake_check_toolchain who)
  get_property(checked GLOBAL PROPERTY TVMAKE_TOOLCHAIN_CHECKED)
  if(checked)
    return()
  endif()
  get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
  if(NOT "CXX" IN_LIST languages)
    _tvmake_fail(
      "${who}"
      "the project does not enable the language CXX"
      EXPECTED "project(<name> LANGUAGES CXX)"
      FIX "add CXX to the languages of project(), or call enable_language(CXX) before"
    )
  endif()
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    _tvmake_fail(
      "${who}"
      "the compiler ${CMAKE_CXX_COMPILER_ID} is not supported"
      EXPECTED "GCC 10 or later, or Clang 13 or later"
    )
  endif()
  if(NOT "cxx_std_20" IN_LIST CMAKE_CXX_COMPILE_FEATURES)
    _tvmake_fail(
      "${who}"
      "the compiler ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} has no C++20"
      EXPECTED "GCC 10 or later, or Clang 13 or later"
      FIX "apt-get install g++, or set CMAKE_CXX_COMPILER to a newer one"
    )
  endif()
  set_property(GLOBAL PROPERTY TVMAKE_TOOLCHAIN_CHECKED TRUE)
endfunction()
