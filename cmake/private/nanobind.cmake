# Python's headers and nanobind, for tvmake_add_wheel_module().

# Find the Python that the module is for, as the project did (scikit-build-core names it), and the nanobind
# beside tvmake's compiler. A macro, because nanobind's functions read what find_package(Python) sets.
macro(_tvmake_find_nanobind who)
  set(Python_FIND_VIRTUALENV FIRST)
  if(NOT Python_EXECUTABLE AND NOT CMAKE_CROSSCOMPILING)
    _tvmake_python(Python_EXECUTABLE)
  endif()
  find_package(
    Python
    3.10
    COMPONENTS Interpreter Development.Module
    OPTIONAL_COMPONENTS Development.SABIModule
  )
  if(NOT Python_FOUND)
    _tvmake_fail(
      "${who}"
      "Python's headers are missing: ${Python_NOT_FOUND_MESSAGE} ${_Python_REASON_FAILURE}"
      EXPECTED "Python 3.10 or later with Python.h, for ${Python_EXECUTABLE}"
      FIX "apt-get install python3-dev"
    )
  endif()
  if(SKBUILD_SABI_VERSION AND NOT TARGET Python::SABIModule)
    _tvmake_fail(
      "${who}"
      "wheel.py-api asks for the stable ABI, which find_package(Python) did not find"
      FIX "pip install 'cmake>=3.26', or leave out wheel.py-api"
    )
  endif()
  _tvmake_check_python_headers("${who}")
  if(NOT COMMAND nanobind_add_module)
    _tvmake_nanobind_dir("${who}" nanobind_DIR)
    find_package(nanobind CONFIG REQUIRED NO_DEFAULT_PATH)
  endif()
endmacro()

function(_tvmake_nanobind_dir who out)
  _tvmake_python(python)
  _tvmake_clean_environment(clean)
  execute_process(
    COMMAND ${clean} "${python}" -m nanobind --cmake_dir
    OUTPUT_VARIABLE folder
    ERROR_VARIABLE error
    RESULT_VARIABLE result
    OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_STRIP_TRAILING_WHITESPACE
  )
  if(NOT result EQUAL 0)
    _tvmake_fail(
      "${who}"
      "'${python} -m nanobind --cmake_dir' failed: ${error}"
      FIX "${python} -m pip install nanobind"
    )
  endif()
  set(${out} "${folder}" PARENT_SCOPE)
endfunction()

# Python's headers know the sizes of one architecture's types; scikit-build-core names those of the Python
# that it runs in.
function(_tvmake_check_python_headers who)
  if(NOT CMAKE_CROSSCOMPILING)
    return()
  endif()
  include(CheckCXXSourceCompiles)
  _tvmake_target_triple(triple)
  set(CMAKE_REQUIRED_INCLUDES ${Python_INCLUDE_DIRS})
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  string(MAKE_C_IDENTIFIER "TVMAKE_PYTHON_HEADERS_${Python_INCLUDE_DIRS}" result)
  check_cxx_source_compiles(
    "#include <Python.h>
    static_assert(SIZEOF_VOID_P == sizeof(void*) && SIZEOF_LONG == sizeof(long));
    int main() { return 0; }"
    ${result}
  )
  if(NOT ${result})
    _tvmake_fail(
      "${who}"
      "Python's headers in '${Python_INCLUDE_DIRS}' are not for ${triple}"
      EXPECTED "the headers of Python ${Python_VERSION} for the target"
      FIX
        "unpack the target's Python (on Debian `apt-get download libpython3-dev:<architecture>`) and set Python_INCLUDE_DIR to its folder with Python.h"
    )
  endif()
endfunction()

# The module's file name says for what it is; in a cross build Python tells the name of the host's modules.
function(_tvmake_name_module target)
  get_target_property(suffix ${target} SUFFIX)
  if(CMAKE_CROSSCOMPILING AND suffix MATCHES "^\\.(cpython-[0-9]+t?)-[^.]+\\.so$")
    set(python "${CMAKE_MATCH_1}")
    _tvmake_target_triple(triple)
    string(REGEX REPLACE "^armv[0-9a-z]*-" "arm-" triple "${triple}")
    set_property(TARGET ${target} PROPERTY SUFFIX ".${python}-${triple}.so")
  endif()
endfunction()

# nanobind prints its fatal errors without including <cstdio>. Python.h includes it only where there is no
# stable ABI, and libc++ nowhere by the way; so the library and the module get it by force.
function(_tvmake_include_stdio target)
  get_target_property(libraries ${target} LINK_LIBRARIES)
  list(FILTER libraries INCLUDE REGEX "^nanobind-")
  foreach(library IN LISTS libraries)
    target_compile_options(${library} PUBLIC "SHELL:-include cstdio")
  endforeach()
endfunction()

# A module exports the function that Python calls to load it, and nothing else.
function(_tvmake_limit_module_exports target folder)
  if(APPLE)
    return() # nanobind lists the symbols there
  endif()
  _tvmake_write_if_changed("${folder}/exports.txt" "{ global: PyInit__native; local: *; };\n")
  target_link_options(
    ${target}
    PRIVATE "LINKER:--version-script=${folder}/exports.txt" "LINKER:--gc-sections"
  )
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS "${folder}/exports.txt")
endfunction()
