# How CMake talks to tvmake's own command line.

# The command that runs `tvmake <arguments…>`, as a list.
function(_tvmake_command out)
  _tvmake_python(python)
  _tvmake_root(root)
  _tvmake_package(package)
  _tvmake_clean_environment(clean)
  set(
    ${out}
    ${clean}
    "${python}"
    "${root}/cmake/private/run.py"
    "${package}"
    ${ARGN}
    PARENT_SCOPE
  )
endfunction()

# Ask a subcommand, without running it, which files it would write into <folder> (<outputs>, absolute) and
# on which of tvmake's own files they depend (<depends>). So OUTPUT and DEPENDS cannot drift from what it
# does.
function(_tvmake_plan who outputs depends folder)
  _tvmake_command(command ${ARGN} --plan)
  execute_process(
    COMMAND ${command}
    OUTPUT_VARIABLE plan
    ERROR_VARIABLE error
    RESULT_VARIABLE result
    ERROR_STRIP_TRAILING_WHITESPACE
  )
  if(NOT result EQUAL 0)
    string(REPLACE "\n" "\n  " error "${error}")
    _tvmake_fail("${who}" "${error}")
  endif()
  _tvmake_json_list(names "${plan}" outputs)
  list(TRANSFORM names PREPEND "${folder}/")
  _tvmake_json_list(files "${plan}" depends)
  set(${outputs} "${names}" PARENT_SCOPE)
  set(${depends} "${files}" PARENT_SCOPE)
endfunction()
