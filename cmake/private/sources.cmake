# Where TVM's and tvm-ffi's C++ sources are: inside the installed wheels, or in a full checkout.

# The TVM that this tvmake is made for. The requirements in pyproject.toml pin the same versions.
set_property(GLOBAL PROPERTY TVMAKE_TVM_VERSION 0.27.0.post1)
set_property(GLOBAL PROPERTY TVMAKE_TVM_FFI_VERSION 0.1.14.post1)

# Set <out>_FFI, <out>_TVM: folders of the sources; <out>_INCLUDES: include folders;
# <out>_PREFIX_MAP: compile options that keep those places out of the objects.
function(_tvmake_sources out)
  if(TVMAKE_TVM_SOURCE_DIR)
    _tvmake_checkout_sources(tvm ffi)
  else()
    _tvmake_wheel_sources(tvm ffi)
  endif()
  set(${out}_FFI "${ffi}/src/ffi" PARENT_SCOPE)
  set(${out}_TVM "${tvm}/src/runtime" PARENT_SCOPE)
  set(
    ${out}_INCLUDES
    "${ffi}/include"
    "${ffi}/3rdparty/dlpack/include"
    "${tvm}/include"
    PARENT_SCOPE
  )
  set(
    ${out}_PREFIX_MAP
    "-ffile-prefix-map=${ffi}=tvm_ffi"
    "-ffile-prefix-map=${tvm}=tvm"
    PARENT_SCOPE
  )
endfunction()

function(_tvmake_wheel_sources out_tvm out_ffi)
  _tvmake_python_package(tvm_version tvm apache-tvm)
  _tvmake_python_package(ffi_version ffi apache-tvm-ffi)
  get_property(wanted_tvm GLOBAL PROPERTY TVMAKE_TVM_VERSION)
  get_property(wanted_ffi GLOBAL PROPERTY TVMAKE_TVM_FFI_VERSION)
  _tvmake_check_wheel(
    apache-tvm
    "${tvm_version}"
    "${wanted_tvm}"
    "${tvm}/src/runtime/device_api.cc"
  )
  _tvmake_check_wheel(apache-tvm-ffi "${ffi_version}" "${wanted_ffi}" "${ffi}/src/ffi/object.cc")
  set(${out_tvm} "${tvm}" PARENT_SCOPE)
  set(${out_ffi} "${ffi}" PARENT_SCOPE)
endfunction()

function(_tvmake_check_wheel package version wanted witness)
  _tvmake_python(python)
  if(NOT version STREQUAL wanted)
    _tvmake_fail(
      "tvmake_runtime"
      "${package} ${version} is installed for ${python}"
      EXPECTED "${package} ${wanted}"
      FIX "${python} -m pip install ${package}==${wanted}"
    )
  elseif(NOT EXISTS "${witness}")
    _tvmake_fail(
      "tvmake_runtime"
      "${package} ${version} has no ${witness}"
      EXPECTED "the wheel from the package index, which holds the runtime's sources"
      FIX
        "${python} -m pip install --force-reinstall ${package}==${wanted}, or set TVMAKE_TVM_SOURCE_DIR"
    )
  endif()
endfunction()

function(_tvmake_checkout_sources out_tvm out_ffi)
  get_filename_component(tvm "${TVMAKE_TVM_SOURCE_DIR}" ABSOLUTE BASE_DIR "${CMAKE_SOURCE_DIR}")
  set(ffi "${tvm}/3rdparty/tvm-ffi")
  foreach(
    witness
    IN
    ITEMS
      "${tvm}/src/runtime/device_api.cc"
      "${ffi}/src/ffi/object.cc"
      "${ffi}/3rdparty/dlpack/include/dlpack/dlpack.h"
  )
    if(NOT EXISTS "${witness}")
      _tvmake_fail(
        "tvmake_runtime"
        "TVMAKE_TVM_SOURCE_DIR '${tvm}' has no ${witness}"
        EXPECTED "a full checkout of TVM with its submodules"
        FIX "git -C ${tvm} submodule update --init --recursive"
      )
    endif()
  endforeach()
  _tvmake_check_checkout(
    TVM
    0.27
    "${tvm}/include/tvm/runtime/base.h"
    "define TVM_VERSION \"([0-9]+\\.[0-9]+)"
  )
  _tvmake_check_checkout(
    "tvm-ffi 0."
    1
    "${ffi}/include/tvm/ffi/c_api.h"
    "define TVM_FFI_VERSION_MINOR ([0-9]+)"
  )
  set(${out_tvm} "${tvm}" PARENT_SCOPE)
  set(${out_ffi} "${ffi}" PARENT_SCOPE)
endfunction()

# Kernels are compiled by the pinned compiler; a runtime of another minor version would misread them.
function(_tvmake_check_checkout name wanted header pattern)
  file(STRINGS "${header}" line REGEX "${pattern}")
  if(NOT line MATCHES "${pattern}" OR NOT CMAKE_MATCH_1 STREQUAL wanted)
    _tvmake_fail(
      "tvmake_runtime"
      "TVMAKE_TVM_SOURCE_DIR holds ${name} ${CMAKE_MATCH_1}, see ${header}"
      EXPECTED "${name} ${wanted}, as the compiler"
      FIX "check out the release that the compiler is of, and its submodules"
    )
  endif()
endfunction()
