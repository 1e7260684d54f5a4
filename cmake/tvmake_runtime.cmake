# tvmake_runtime([LINKAGE STATIC|SHARED|EXTERNAL] [COMPONENTS <component>…])
#
# Builds the TVM runtime for the configured toolchain, from the C++ sources inside the installed apache-tvm
# and apache-tvm-ffi wheels (or below TVMAKE_TVM_SOURCE_DIR, a full checkout), together with tvmake's
# executor. tvmake_add_model() calls it; call it yourself to link the runtime to something else.
#
#   LINKAGE     how programs get it (default STATIC):
#               STATIC    one archive with everything. No symbol of it leaves the image it is linked into.
#               SHARED    one library libtvm_runtime that also exports tvm-ffi's C interface: a C++ program
#                         loads model modules through it.
#               EXTERNAL  an archive without tvm-ffi, which is found in the process at run time: for
#                         modules that Python's tvm_ffi loads.
#   COMPONENTS  parts of the runtime (default core, the only one so far): core holds the registry, module
#               loading, the CPU device and the graph executor.
#
# Creates the target tvmake::runtime_static, tvmake::runtime_shared or tvmake::runtime_external. Calling it
# again is harmless. The result is kept in TVMAKE_CACHE_DIR for other build trees, and is optimised in every
# build type.
#
# Example:
#   tvmake_runtime(LINKAGE SHARED)
#   target_link_libraries(loader PRIVATE tvmake::runtime_shared)
function(tvmake_runtime)
  set(who "tvmake_runtime()")
  cmake_parse_arguments(PARSE_ARGV 0 ARG "" "LINKAGE" "COMPONENTS")
  _tvmake_check_unknown("${who}" "${ARG_UNPARSED_ARGUMENTS}" LINKAGE COMPONENTS)
  _tvmake_check_values("${who}" "${ARG_KEYWORDS_MISSING_VALUES}")
  _tvmake_check_toolchain("${who}")
  if(NOT DEFINED ARG_LINKAGE)
    set(ARG_LINKAGE STATIC)
  endif()
  _tvmake_check_choice("${who}" LINKAGE "${ARG_LINKAGE}" STATIC SHARED EXTERNAL)
  if(NOT ARG_COMPONENTS)
    set(ARG_COMPONENTS core)
  endif()
  _tvmake_components(known)
  foreach(component IN LISTS ARG_COMPONENTS)
    _tvmake_check_choice("${who}" COMPONENTS "${component}" ${known})
  endforeach()

  string(TOLOWER "${ARG_LINKAGE}" linkage)
  set(target tvmake_runtime_${linkage})
  if(NOT TARGET ${target})
    _tvmake_build_runtime(${target} ${ARG_LINKAGE} ${ARG_COMPONENTS})
    add_library(tvmake::runtime_${linkage} ALIAS ${target})
  endif()
endfunction()

function(_tvmake_build_runtime target linkage)
  _tvmake_root(root)
  _tvmake_sources(source)
  foreach(list IN ITEMS sources system_sources extra_sources extra_system_sources)
    set(${list} "")
  endforeach()
  foreach(component IN LISTS ARGN)
    _tvmake_component(part ${component} ${linkage})
    list(TRANSFORM part_FFI PREPEND "${source_FFI}/")
    list(TRANSFORM part_OWN PREPEND "${root}/cpp/")
    list(TRANSFORM part_EXTRA_FFI PREPEND "${source_FFI}/")
    list(TRANSFORM part_EXTRA_TVM PREPEND "${source_TVM}/")
    list(TRANSFORM part_EXTRA_OWN PREPEND "${root}/cpp/")
    list(APPEND sources ${part_OWN})
    list(APPEND system_sources ${part_FFI})
    list(APPEND extra_sources ${part_EXTRA_OWN})
    list(APPEND extra_system_sources ${part_EXTRA_FFI} ${part_EXTRA_TVM})
  endforeach()
  _tvmake_runtime_headers(headers "${source_INCLUDES}" "${source_FFI}" "${source_TVM}")
  _tvmake_byte_order_definition(byte_order)
  _tvmake_system_libraries(libraries)

  set(type STATIC)
  set(visibility -fvisibility=hidden)
  set(definitions TVM_FFI_USE_LIBBACKTRACE=0 TVM_FFI_BACKTRACE_ON_SEGFAULT=0 ${byte_order})
  set(link_options "")
  if(linkage STREQUAL "SHARED")
    set(type SHARED)
    set(visibility -fvisibility=default)
    _tvmake_runtime_exports(link_options)
  elseif(linkage STREQUAL "STATIC")
    # What tvm-ffi marks for export stays inside of the image that the archive is linked into.
    foreach(macro IN ITEMS TVM_FFI_DLL TVM_FFI_DLL_EXPORT TVM_RUNTIME_DLL TVM_RUNTIME_DLL_EXPORT)
      list(APPEND definitions "${macro}=__attribute__((visibility(\"hidden\")))")
    endforeach()
  endif()
  _tvmake_library(
    ${target}
    TYPE ${type}
    OUTPUT_NAME tvm_runtime
    SOURCES ${sources}
    SYSTEM_SOURCES ${system_sources}
    EXTRA_SOURCES ${extra_sources}
    EXTRA_SYSTEM_SOURCES ${extra_system_sources}
    FILES ${headers} "${root}/cmake/private/runtime_exports.map"
    INCLUDES "${root}/cpp/include" "${root}/cpp/src"
    SYSTEM_INCLUDES "${root}/cpp/compat" ${source_INCLUDES}
    DEFINITIONS ${definitions}
    OPTIONS -O2 -g0 -DNDEBUG -ffunction-sections -fdata-sections ${visibility}
    PREFIX_MAP ${source_PREFIX_MAP} "-ffile-prefix-map=${root}=tvmake"
    LINK_OPTIONS ${link_options}
    LIBRARIES ${libraries}
    INTERFACE_INCLUDES "${root}/cpp/include" ${source_INCLUDES}
    INTERFACE_DEFINITIONS ${byte_order}
    INTERFACE_LIBRARIES ${libraries}
  )
endfunction()

# The shared runtime exports what tvm-ffi and TVM mark for export, and tvmake's classes; not what the C++
# library's templates leave behind.
function(_tvmake_runtime_exports out)
  if(APPLE)
    set(${out} "LINKER:-dead_strip" PARENT_SCOPE)
    return()
  endif()
  _tvmake_root(root)
  set(
    ${out}
    "LINKER:--gc-sections"
    "LINKER:--no-undefined"
    "LINKER:--version-script=${root}/cmake/private/runtime_exports.map"
    PARENT_SCOPE
  )
endfunction()

# All headers that the sources can see but the toolchain's own.
function(_tvmake_runtime_headers out includes)
  _tvmake_root(root)
  set(patterns "")
  foreach(folder IN LISTS includes ITEMS "${root}/cpp/include" "${root}/cpp/compat")
    list(APPEND patterns "${folder}/*.h")
  endforeach()
  list(TRANSFORM patterns REPLACE "^(.*/tvm/include)/\\*\\.h$" "\\1/tvm/runtime/*.h")
  list(APPEND patterns "${root}/cpp/src/*.h")
  foreach(folder IN LISTS ARGN)
    list(APPEND patterns "${folder}/*.h")
  endforeach()
  file(GLOB_RECURSE headers LIST_DIRECTORIES FALSE ${patterns})
  set(${out} "${headers}" PARENT_SCOPE)
endfunction()

function(_tvmake_byte_order_definition out)
  set(little 1)
  if(CMAKE_CXX_BYTE_ORDER STREQUAL "BIG_ENDIAN")
    set(little 0)
  endif()
  set(${out} "TVM_FFI_CMAKE_LITTLE_ENDIAN=${little}" PARENT_SCOPE)
endfunction()

# What the runtime needs of the system: threads, dlopen, and libatomic where the instruction set lacks some
# atomic operations. Not imported targets: those would be known in one directory only.
function(_tvmake_system_libraries out)
  set(libraries -pthread ${CMAKE_DL_LIBS})
  _tvmake_target_triple(triple)
  if(
    triple MATCHES "^(riscv|arm|thumb|mips|powerpc|i[3-6]86)"
    AND triple MATCHES "linux-gnu|linux-musl"
  )
    include(CheckCXXSourceCompiles)
    set(
      atomics
      "#include <atomic>
      #include <cstdint>
      std::atomic<std::uint8_t> a; std::atomic<std::uint64_t> b;
      int main() { return a.fetch_add(1) + static_cast<int>(b.fetch_add(1)) + a.exchange(2); }"
    )
    check_cxx_source_compiles("${atomics}" TVMAKE_ATOMICS_WITHOUT_LIBRARY)
    if(NOT TVMAKE_ATOMICS_WITHOUT_LIBRARY)
      list(APPEND libraries -latomic)
    endif()
  endif()
  set(${out} "${libraries}" PARENT_SCOPE)
endfunction()
