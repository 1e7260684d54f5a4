# The Python that runs the compiler.
#
# Taken, in this order: TVMAKE_PYTHON; the Python that the project chose (Python3_EXECUTABLE,
# Python_EXECUTABLE); the active virtual environment; the one that tvmake's wheel is installed for; the
# first python3 of PATH. The first of those that has all of tvmake's requirements is used as it is. When
# none has, a private environment is made once in the cache folder, of the first one found, and shared by
# all build trees; the user's own environments are never changed. TVMAKE_EXTRAS adds groups of optional
# requirements (test, bench). A model whose format needs more than ONNX does (_tvmake_require_extra) adds
# its group by itself.

# Set <out> to the Python's path. The answer is kept for this configure run.
function(_tvmake_python out)
  get_property(python GLOBAL PROPERTY TVMAKE_PYTHON_EXECUTABLE)
  if(NOT python)
    _tvmake_find_python(python probe)
    set_property(GLOBAL PROPERTY TVMAKE_PYTHON_EXECUTABLE "${python}")
    set_property(GLOBAL PROPERTY TVMAKE_PYTHON_PROBE "${probe}")
    string(JSON version GET "${probe}" version)
    message(STATUS "tvmake: Python ${version} at ${python}")
  endif()
  set(${out} "${python}" PARENT_SCOPE)
endfunction()

# Make sure that the Python has a group of optional requirements; from here on it may be another one.
function(_tvmake_require_extra extra)
  get_property(extras GLOBAL PROPERTY TVMAKE_FORMAT_EXTRAS)
  if(NOT extra IN_LIST TVMAKE_EXTRAS AND NOT extra IN_LIST extras)
    set_property(GLOBAL APPEND PROPERTY TVMAKE_FORMAT_EXTRAS ${extra})
    set_property(GLOBAL PROPERTY TVMAKE_PYTHON_EXECUTABLE "")
  endif()
endfunction()

# Set <version> and <folder> to those of an installed package that the requirements name.
function(_tvmake_python_package version folder name)
  _tvmake_python(python)
  get_property(probe GLOBAL PROPERTY TVMAKE_PYTHON_PROBE)
  string(JSON found_version GET "${probe}" packages "${name}" version)
  string(JSON found_folder GET "${probe}" packages "${name}" folder)
  set(${version} "${found_version}" PARENT_SCOPE)
  set(${folder} "${found_folder}" PARENT_SCOPE)
endfunction()

function(_tvmake_find_python out_python out_probe)
  if(TVMAKE_PYTHON)
    _tvmake_probe_python(probe error "${TVMAKE_PYTHON}")
    _tvmake_missing_requirements(missing "${probe}")
    if(error)
      _tvmake_fail(
        "tvmake"
        "TVMAKE_PYTHON '${TVMAKE_PYTHON}' does not work: ${error}"
        EXPECTED "the path of a Python of version 3.10 or later"
        FIX "correct TVMAKE_PYTHON, or leave it out for a private environment"
      )
    elseif(missing)
      string(REPLACE ";" "' '" packages "${missing}")
      _tvmake_fail(
        "tvmake"
        "TVMAKE_PYTHON '${TVMAKE_PYTHON}' lacks ${missing}"
        FIX "${TVMAKE_PYTHON} -m pip install '${packages}'"
      )
    endif()
    set(${out_python} "${TVMAKE_PYTHON}" PARENT_SCOPE)
    set(${out_probe} "${probe}" PARENT_SCOPE)
    return()
  endif()

  _tvmake_python_candidates(candidates)
  set(base "")
  set(reasons "")
  foreach(candidate IN LISTS candidates)
    _tvmake_probe_python(probe error "${candidate}")
    if(error)
      string(APPEND reasons "\n  ${candidate}: ${error}")
      continue()
    endif()
    _tvmake_missing_requirements(missing "${probe}")
    if(NOT missing)
      set(${out_python} "${candidate}" PARENT_SCOPE)
      set(${out_probe} "${probe}" PARENT_SCOPE)
      return()
    elseif(NOT base)
      set(base "${candidate}")
      set(base_probe "${probe}")
    endif()
  endforeach()
  if(NOT base)
    _tvmake_fail(
      "tvmake"
      "no Python of version 3.10 or later was found${reasons}"
      FIX "apt-get install python3 python3-venv, or set TVMAKE_PYTHON to one"
    )
  endif()
  _tvmake_private_environment(python "${base}" "${base_probe}")
  _tvmake_probe_python(probe error "${python}")
  set(${out_python} "${python}" PARENT_SCOPE)
  set(${out_probe} "${probe}" PARENT_SCOPE)
endfunction()

# The Pythons worth asking, best first. They are the host's, so neither the target's sysroot nor
# CMAKE_FIND_ROOT_PATH plays a part.
function(_tvmake_python_candidates out)
  set(candidates "")
  foreach(variable IN ITEMS Python3_EXECUTABLE Python_EXECUTABLE)
    if(${variable})
      list(APPEND candidates "${${variable}}")
    endif()
  endforeach()
  foreach(variable IN ITEMS VIRTUAL_ENV CONDA_PREFIX)
    if(DEFINED ENV{${variable}})
      file(TO_CMAKE_PATH "$ENV{${variable}}" prefix)
      list(APPEND candidates "${prefix}/bin/python")
    endif()
  endforeach()
  _tvmake_own_python(own)
  list(APPEND candidates ${own})
  unset(found)
  find_program(
    found
    NAMES python3 python python3.14 python3.13 python3.12 python3.11 python3.10 NO_CACHE
    NO_CMAKE_FIND_ROOT_PATH
  )
  if(found)
    list(APPEND candidates "${found}")
  endif()
  list(REMOVE_DUPLICATES candidates)
  set(${out} "${candidates}" PARENT_SCOPE)
endfunction()

# The Python that tvmake's wheel was installed for, if this is that wheel.
function(_tvmake_own_python out)
  _tvmake_package(package)
  set(${out} "" PARENT_SCOPE)
  if(package MATCHES "^(.+)/lib(64)?/[^/]+/(site|dist)-packages/tvmake$")
    set(python "${CMAKE_MATCH_1}/bin/python")
    if(EXISTS "${python}")
      set(${out} "${python}" PARENT_SCOPE)
    endif()
  endif()
endfunction()

# Command prefix under which every Python runs: its own packages, nothing that PYTHONPATH or the user's
# home adds. While a wheel is built PYTHONPATH stays: pip shows its build environment that way.
function(_tvmake_clean_environment out)
  set(unset_path --unset=PYTHONPATH)
  if(SKBUILD)
    set(unset_path "")
  endif()
  set(
    ${out}
    "${CMAKE_COMMAND}"
    -E
    env
    --unset=PYTHONHOME
    ${unset_path}
    PYTHONNOUSERSITE=1
    PARENT_SCOPE
  )
endfunction()

# Ask a Python about itself; <out_error> says why it is of no use, if so.
function(_tvmake_probe_python out_probe out_error python)
  _tvmake_root(root)
  _tvmake_clean_environment(clean)
  get_property(format_extras GLOBAL PROPERTY TVMAKE_FORMAT_EXTRAS)
  set(extras ${TVMAKE_EXTRAS} ${format_extras})
  list(REMOVE_DUPLICATES extras)
  string(REPLACE ";" "," extras "${extras}")
  execute_process(
    COMMAND
      ${clean} "${python}" "${root}/cmake/private/probe.py" --project "${root}/pyproject.toml"
      --extras "${extras}"
    OUTPUT_VARIABLE probe
    ERROR_VARIABLE error
    RESULT_VARIABLE result
    OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_STRIP_TRAILING_WHITESPACE
  )
  set(reason "")
  if(NOT result EQUAL 0)
    set(reason "${error}")
    if(NOT reason)
      set(reason "${result}")
    endif()
  else()
    string(JSON version GET "${probe}" version)
    if(version VERSION_LESS 3.10)
      set(reason "its version is ${version}, 3.10 or later is needed")
    endif()
  endif()
  set(${out_probe} "${probe}" PARENT_SCOPE)
  set(${out_error} "${reason}" PARENT_SCOPE)
endfunction()

function(_tvmake_missing_requirements out probe)
  _tvmake_json_list(missing "${probe}" missing)
  set(${out} "${missing}" PARENT_SCOPE)
endfunction()

# Make, or find, the environment in the cache folder that holds the requirements.
function(_tvmake_private_environment out base probe)
  _tvmake_json_list(requirements "${probe}" requirements)
  set(identity "${requirements}")
  foreach(key IN ITEMS version platform base)
    string(JSON value GET "${probe}" ${key})
    string(APPEND identity "|${value}")
  endforeach()
  string(SHA256 identity "${identity}")
  string(SUBSTRING "${identity}" 0 16 identity)
  _tvmake_cache_dir(cache)
  set(folder "${cache}/python/${identity}")
  set(python "${folder}/bin/python")
  set(${out} "${python}" PARENT_SCOPE)
  if(EXISTS "${folder}/.complete")
    _tvmake_probe_python(found error "${python}")
    _tvmake_missing_requirements(missing "${found}")
    if(NOT error AND NOT missing)
      return()
    endif()
  endif()

  # An environment knows its own path, so it is made in place: one at a time, the stamp written last.
  file(MAKE_DIRECTORY "${cache}/python")
  file(LOCK "${folder}.lock" GUARD FUNCTION TIMEOUT 3600 RESULT_VARIABLE locked)
  if(NOT locked EQUAL 0)
    _tvmake_fail(
      "tvmake"
      "cannot lock ${folder}.lock: ${locked}"
      FIX "end the other configure run, or set TVMAKE_CACHE_DIR to another folder"
    )
  endif()
  if(EXISTS "${folder}/.complete")
    _tvmake_probe_python(found error "${python}")
    _tvmake_missing_requirements(missing "${found}")
    if(NOT error AND NOT missing)
      return() # made by another run while this one waited
    endif()
  endif()
  message(STATUS "tvmake: making a private Python environment in ${folder} (once; some minutes)")
  file(REMOVE_RECURSE "${folder}")
  _tvmake_create_environment("${base}" "${folder}")
  _tvmake_install_requirements("${folder}" "${requirements}")
  _tvmake_probe_python(found error "${python}")
  _tvmake_missing_requirements(missing "${found}")
  if(error OR missing)
    _tvmake_fail(
      "tvmake"
      "the private Python environment still lacks ${missing}${error}"
      FIX "remove ${folder} and configure again"
    )
  endif()
  file(WRITE "${folder}/.complete" "${requirements}\n")
endfunction()

function(_tvmake_create_environment base folder)
  _tvmake_clean_environment(clean)
  execute_process(
    COMMAND ${clean} "${base}" -m venv "${folder}"
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output
    RESULT_VARIABLE result
  )
  if(NOT result EQUAL 0)
    file(REMOVE_RECURSE "${folder}")
    string(REPLACE "\n" "\n  " output "${output}")
    _tvmake_fail(
      "tvmake"
      "'${base} -m venv' failed\n  ${output}"
      FIX
        "apt-get install python3-venv, or set TVMAKE_PYTHON to a Python with tvmake's requirements"
    )
  endif()
endfunction()

function(_tvmake_install_requirements folder requirements)
  _tvmake_clean_environment(clean)
  set(list_file "${folder}/requirements.txt")
  list(JOIN requirements "\n" lines)
  file(WRITE "${list_file}" "${lines}\n")
  execute_process(
    COMMAND
      ${clean} "${folder}/bin/python" -m pip install --quiet --disable-pip-version-check --no-input
      --requirement "${list_file}"
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output
    RESULT_VARIABLE result
  )
  if(NOT result EQUAL 0)
    file(REMOVE_RECURSE "${folder}")
    string(REPLACE "\n" "\n  " output "${output}")
    _tvmake_fail(
      "tvmake"
      "pip cannot install the requirements\n  ${output}"
      FIX "see pip's message above; a package index is needed once (pip config, PIP_INDEX_URL)"
    )
  endif()
endfunction()
