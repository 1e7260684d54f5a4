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

# x86_64-pc-linux-gnu, x86_64-redhat-linux -> x86_64-linux-gnu; aarch64-linux-gnu.2.28 -> aarch64-linux-gnu;
# arm-linux-gnueabihf -> armv7l-linux-gnueabihf, as LLVM takes a bare arm for the oldest of all
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
  list(GET parts 0 architecture)
  if(architecture STREQUAL "arm")
    _tvmake_compiler_macro(version __ARM_ARCH)
    list(POP_FRONT parts)
    list(PREPEND parts "armv${version}")
    list(TRANSFORM parts REPLACE "^armv([78])$" "armv\\1l")
  endif()
  list(JOIN parts "-" triple)
  set(${out} "${triple}" PARENT_SCOPE)
endfunction()

# The value of a macro that the C++ compiler predefines, given the project's flags; empty if it does not.
function(_tvmake_compiler_macro out name)
  set(command "${CMAKE_CXX_COMPILER}")
  separate_arguments(arguments NATIVE_COMMAND "${CMAKE_CXX_COMPILER_ARG1} ${CMAKE_CXX_FLAGS}")
  list(APPEND command ${arguments})
  if(CMAKE_CXX_COMPILER_TARGET AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    list(APPEND command "--target=${CMAKE_CXX_COMPILER_TARGET}")
  endif()
  if(NOT "${_TVMAKE_COMPILER_MACROS_OF}" STREQUAL "${command}")
    execute_process(
      COMMAND ${command} -dM -E -x c++ /dev/null
      OUTPUT_VARIABLE macros
      ERROR_QUIET
    )
    string(REGEX MATCHALL "#define (__[A-Za-z0-9_]+ [0-9]+)\n" macros "${macros}")
    list(TRANSFORM macros REPLACE "#define |\n" "")
    set(_TVMAKE_COMPILER_MACROS "${macros}" CACHE INTERNAL "what the compiler predefines")
    set(_TVMAKE_COMPILER_MACROS_OF "${command}" CACHE INTERNAL "the command that was asked")
  endif()
  set(value "")
  foreach(macro IN LISTS _TVMAKE_COMPILER_MACROS)
    if(macro MATCHES "^${name} (.*)$")
      set(value "${CMAKE_MATCH_1}")
      break()
    endif()
  endforeach()
  set(${out} "${value}" PARENT_SCOPE)
endfunction()

# The architecture that the C++ compiler makes code for; empty if it is none that is known here.
function(_tvmake_compiler_architecture out)
  set(${out} "" PARENT_SCOPE)
  foreach(
    entry
    IN
    ITEMS x86_64 i386 aarch64 arm riscv
  )
    _tvmake_compiler_macro(defined __${entry}__)
    if(entry STREQUAL "riscv")
      _tvmake_compiler_macro(defined __riscv)
    endif()
    if(defined)
      set(${out} ${entry} PARENT_SCOPE)
      break()
    endif()
  endforeach()
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
  _tvmake_check_architecture("${triple}")
  _tvmake_check_float_abi("${triple}")
endfunction()

# The first word of a triple as _tvmake_compiler_architecture() says it; empty if none that is known here.
function(_tvmake_triple_architecture out triple)
  string(REGEX MATCH "^[^-]*" word "${triple}")
  string(REGEX REPLACE "^i[3-6]86$" "i386" word "${word}")
  string(REGEX REPLACE "^(arm64|aarch64_be)$" "aarch64" word "${word}")
  string(REGEX REPLACE "^(arm(v|eb)|thumb).*$" "arm" word "${word}")
  string(REGEX REPLACE "^riscv.*$" "riscv" word "${word}")
  if(NOT word MATCHES "^(x86_64|i386|aarch64|arm|riscv)$")
    set(word "")
  endif()
  set(${out} "${word}" PARENT_SCOPE)
endfunction()

function(_tvmake_check_architecture triple)
  _tvmake_compiler_architecture(made)
  _tvmake_triple_architecture(wanted "${triple}")
  if(made AND wanted AND NOT made STREQUAL wanted)
    _tvmake_fail(
      "tvmake"
      "the C++ compiler makes code for ${made}, but the target is ${triple}"
      EXPECTED "kernels and C++ for one architecture"
      FIX "correct TVMAKE_TARGET_TRIPLE, or choose the compiler of the target"
    )
  endif()
endfunction()

# Where functions take floats: objects that disagree do not link, or worse, do.
function(_tvmake_check_float_abi triple)
  _tvmake_triple_architecture(architecture "${triple}")
  set(wanted "")
  set(made soft)
  if(architecture STREQUAL "arm")
    set(wanted soft)
    if(triple MATCHES "eabihf$")
      set(wanted hard)
    endif()
    _tvmake_compiler_macro(registers __ARM_PCS_VFP)
    if(registers)
      set(made hard)
    endif()
    set(flag "-mfloat-abi=${wanted}")
  elseif(triple MATCHES "^riscv64")
    set(wanted double)
    foreach(abi IN ITEMS single double)
      _tvmake_compiler_macro(registers __riscv_float_abi_${abi})
      if(registers)
        set(made ${abi})
      endif()
    endforeach()
    set(flag "-mabi=lp64d -march=rv64gc")
  endif()
  if(wanted AND NOT made STREQUAL wanted)
    _tvmake_fail(
      "tvmake"
      "the C++ compiler has the float ABI '${made}', but kernels for ${triple} have '${wanted}'"
      EXPECTED "${flag} in the compiler's flags"
      FIX "correct CMAKE_CXX_FLAGS, or TVMAKE_TARGET_TRIPLE"
    )
  endif()
endfunction()

# FEATURES of kernels that the C++ side's calling convention or flags rule out.
function(_tvmake_check_features who triple)
  set(needed "")
  if(triple MATCHES "^riscv64")
    set(needed f d)
  elseif(triple MATCHES "^arm.*eabihf$")
    set(needed vfp2 fpregs)
  endif()
  foreach(feature IN LISTS ARGN)
    string(SUBSTRING "${feature}" 0 1 sign)
    string(SUBSTRING "${feature}" 1 -1 name)
    if(sign STREQUAL "-" AND name IN_LIST needed)
      _tvmake_fail(
        "${who}"
        "FEATURES has ${feature}, but functions of ${triple} take floats in those registers"
        FIX "leave out ${feature}, or build for a target without hard float"
      )
    elseif(sign STREQUAL "+" AND " ${CMAKE_CXX_FLAGS} " MATCHES " -mno-${name} ")
      _tvmake_fail(
        "${who}"
        "FEATURES has ${feature}, but the C++ compiler's flags have -mno-${name}"
        EXPECTED "kernels and C++ for one CPU"
        FIX "leave out one of the two"
      )
    endif()
  endforeach()
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
