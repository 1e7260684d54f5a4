# tvmake_add_harness(<executable> MODEL <model>)
#
# Creates a program around one model: it runs the model on .npy or raw files, writes the outputs, measures
# (--bench), profiles by kernel (--profile) and tells where the model came from (--info); see its --help.
#
#   MODEL   a target of tvmake_add_model(), not one with RUNTIME EXTERNAL.
#
# Creates the executable target; a model's weights file is put beside it.
#
# Example:
#   tvmake_add_harness(resnet18_harness MODEL resnet18)
function(tvmake_add_harness executable)
  set(who "tvmake_add_harness(${executable})")
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "MODEL" "")
  _tvmake_check_unknown("${who}" "${ARG_UNPARSED_ARGUMENTS}" MODEL)
  _tvmake_check_values("${who}" "${ARG_KEYWORDS_MISSING_VALUES}")
  if(NOT ARG_MODEL)
    _tvmake_fail("${who}" "MODEL is missing" EXPECTED "MODEL <target of tvmake_add_model>")
  endif()
  _tvmake_check_model("${who}" MODEL "${ARG_MODEL}")
  if(TARGET "${executable}")
    _tvmake_fail("${who}" "there is a target '${executable}' already" FIX "choose another name")
  endif()
  get_target_property(runtime ${ARG_MODEL} TVMAKE_RUNTIME)
  if(runtime STREQUAL "EXTERNAL")
    _tvmake_fail(
      "${who}"
      "MODEL '${ARG_MODEL}' has RUNTIME EXTERNAL, so a program cannot link it"
      EXPECTED "a model with RUNTIME STATIC or SHARED"
    )
  endif()

  _tvmake_harness_library()
  get_target_property(folder ${ARG_MODEL} TVMAKE_FOLDER)
  _tvmake_add_rendering("${who}" sources "${folder}" ${ARG_MODEL} --harness ${executable})
  add_executable(${executable} ${sources})
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS -w)
  add_dependencies(${executable} ${ARG_MODEL}_tvmake)
  set_target_properties(
    ${executable}
    PROPERTIES CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF CXX_SCAN_FOR_MODULES OFF
  )
  target_link_libraries(${executable} PRIVATE ${ARG_MODEL} tvmake::harness)
  tvmake_copy_weights(${executable} ${ARG_MODEL})
endfunction()

# What all harnesses share, as a library of its own: tvmake::harness.
function(_tvmake_harness_library)
  if(TARGET tvmake_harness)
    return()
  endif()
  _tvmake_root(root)
  set(
    sources
    harness.cc
    harness_arguments.cc
    harness_report.cc
    harness_tensors.cc
    npy.cc
  )
  list(TRANSFORM sources PREPEND "${root}/cpp/src/")
  file(GLOB headers "${root}/cpp/include/tvmake/*.h" "${root}/cpp/src/*.h")
  _tvmake_library(
    tvmake_harness
    TYPE STATIC
    OUTPUT_NAME tvmake_harness
    SOURCES ${sources}
    FILES ${headers}
    INCLUDES "${root}/cpp/include" "${root}/cpp/src"
    OPTIONS -O2 -g0 -DNDEBUG -ffunction-sections -fdata-sections -fvisibility=hidden
    PREFIX_MAP "-ffile-prefix-map=${root}=tvmake"
    INTERFACE_INCLUDES "${root}/cpp/include"
    INTERFACE_LIBRARIES -pthread
  )
  add_library(tvmake::harness ALIAS tvmake_harness)
endfunction()
