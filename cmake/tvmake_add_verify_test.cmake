# tvmake_add_verify_test(<model> [HARNESS <executable>] [RTOL <r>] [ATOL <a>] [SEED <n>]
#   [EXTENTS <symbol>=<n> …])
#
# Adds a CTest that runs a model on seeded inputs and compares every output with onnxruntime's. When one
# departs, it names the first kernel whose result does, with the nodes of the model file that it came from.
# When cross compiling, the model runs under CMAKE_CROSSCOMPILING_EMULATOR.
#
#   <model>    a target of tvmake_add_model().
#   HARNESS    the model's program of tvmake_add_harness() (default: one called <model>_verify is added).
#   RTOL ATOL  relative and absolute tolerance (default: tvmake's, by element type).
#   SEED       of the inputs' random numbers (default 0).
#   EXTENTS    what the symbolic dimensions of the inputs are in this test, for example N=4 (default: 7, or
#              the bound where that is less). Call the function again, with another HARNESS, for other shapes.
#
# Creates the test <model>.verify. As with every test, the project calls enable_testing() or include(CTest).
#
# Example:
#   tvmake_add_verify_test(resnet18 RTOL 1e-4)
function(tvmake_add_verify_test model)
  set(who "tvmake_add_verify_test(${model})")
  set(values HARNESS RTOL ATOL SEED)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "${values}" "EXTENTS")
  _tvmake_check_unknown("${who}" "${ARG_UNPARSED_ARGUMENTS}" ${values} EXTENTS)
  _tvmake_check_values("${who}" "${ARG_KEYWORDS_MISSING_VALUES}")
  _tvmake_check_model("${who}" "argument" "${model}")
  foreach(keyword IN ITEMS RTOL ATOL)
    if(DEFINED ARG_${keyword})
      _tvmake_check_number("${who}" ${keyword} "${ARG_${keyword}}")
    endif()
  endforeach()
  if(DEFINED ARG_SEED AND NOT ARG_SEED MATCHES "^[0-9]+$")
    _tvmake_fail("${who}" "SEED is '${ARG_SEED}'" EXPECTED "a whole number, at least 0")
  endif()
  foreach(extent IN LISTS ARG_EXTENTS)
    if(NOT extent MATCHES "^[A-Za-z_][A-Za-z0-9_]*=[1-9][0-9]*$")
      _tvmake_fail("${who}" "EXTENTS has '${extent}'" EXPECTED "<symbol>=<n>, for example N=4")
    endif()
  endforeach()
  if(NOT ARG_HARNESS)
    set(ARG_HARNESS ${model}_verify)
    tvmake_add_harness(${ARG_HARNESS} MODEL ${model})
  elseif(NOT TARGET "${ARG_HARNESS}")
    _tvmake_fail(
      "${who}"
      "HARNESS '${ARG_HARNESS}' is no target"
      FIX "tvmake_add_harness(${ARG_HARNESS} MODEL ${model})"
    )
  endif()

  set(options "")
  foreach(keyword IN ITEMS RTOL ATOL SEED)
    if(DEFINED ARG_${keyword})
      string(TOLOWER ${keyword} option)
      list(APPEND options --${option} ${ARG_${keyword}})
    endif()
  endforeach()
  foreach(extent IN LISTS ARG_EXTENTS)
    list(APPEND options --extent ${extent})
  endforeach()
  if(CMAKE_CROSSCOMPILING_EMULATOR)
    list(JOIN CMAKE_CROSSCOMPILING_EMULATOR " " emulator)
    list(APPEND options --emulator "${emulator}")
  endif()
  get_target_property(file ${model} TVMAKE_MODEL)
  get_target_property(manifest ${model} TVMAKE_MANIFEST)
  get_target_property(folder ${model} TVMAKE_FOLDER)
  _tvmake_command(
    command
    verify
    --manifest
    "${manifest}"
    --model
    "${file}"
    --harness
    "$<TARGET_FILE:${ARG_HARNESS}>"
    --work-dir
    "${folder}/verify"
    ${options}
  )
  add_test(NAME ${model}.verify COMMAND ${command})
endfunction()
