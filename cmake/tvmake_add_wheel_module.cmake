# tvmake_add_wheel_module(<module> MODEL <model> [DESTINATION <folder>] [VERSION <version>]
#   [LICENSE <expression>])
#
# Makes a Python package of a compiled model: `import <module>; <module>.Model().run(x)`. Built by
# scikit-build-core it becomes a wheel that needs NumPy and nothing else.
#
#   <module>     name of the package, a Python identifier; it may be the model's name.
#   MODEL        a target of tvmake_add_model() with LIBRARY STATIC and RUNTIME STATIC, their defaults.
#   DESTINATION  folder of `cmake --install` (default <module>, which scikit-build-core takes for the folder
#                in the wheel).
#   VERSION      for the bill of materials (default: SKBUILD_PROJECT_VERSION, else the project's version).
#   LICENSE      of the model, as an SPDX expression, for the bill of materials.
#
# Creates the target <module>_module and installs the package: the extension module, type stubs, and the
# weights of a model with WEIGHTS FILE. Python 3.12 and later share one module by the stable ABI; with
# `wheel.py-api = "cp312"` in pyproject.toml they share one wheel. A wheel also gets a bill of materials and
# the licences of what is inside.
#
# Example:
#   project(digits LANGUAGES CXX)
#   find_package(tvmake CONFIG REQUIRED)
#   tvmake_add_model(digits MODEL digits.onnx)
#   tvmake_add_wheel_module(digits MODEL digits)
function(tvmake_add_wheel_module module)
  set(who "tvmake_add_wheel_module(${module})")
  set(values MODEL DESTINATION VERSION LICENSE)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "${values}" "")
  _tvmake_check_unknown("${who}" "${ARG_UNPARSED_ARGUMENTS}" ${values})
  _tvmake_check_values("${who}" "${ARG_KEYWORDS_MISSING_VALUES}")
  _tvmake_check_module_arguments()
  if(NOT DEFINED ARG_DESTINATION)
    set(ARG_DESTINATION "${module}")
  endif()
  if(NOT DEFINED ARG_VERSION)
    set(ARG_VERSION 0.0.0)
    foreach(version IN ITEMS PROJECT_VERSION SKBUILD_PROJECT_VERSION)
      if(${version})
        set(ARG_VERSION "${${version}}")
      endif()
    endforeach()
  endif()

  _tvmake_find_nanobind("${who}")
  get_target_property(model_folder ${ARG_MODEL} TVMAKE_FOLDER)
  set(target ${module}_module)
  set(folder "${model_folder}/wheel")
  file(MAKE_DIRECTORY "${folder}")
  _tvmake_add_rendering("${who}" rendered "${model_folder}" ${module} --wheel ${module})
  set(cpp "${rendered}")
  list(FILTER cpp INCLUDE REGEX "\\.cpp$")
  set(python_files "${rendered}")
  list(FILTER python_files EXCLUDE REGEX "\\.cpp$")

  set(CMAKE_CXX_SCAN_FOR_MODULES OFF) # there are none, and not every compiler comes with the scanner
  cmake_language(
    CALL nanobind_add_module
    ${target}
    STABLE_ABI
    NB_STATIC
    NB_SUPPRESS_WARNINGS
    ${cpp}
  )
  add_dependencies(${target} ${ARG_MODEL}_tvmake)
  set_source_files_properties(${cpp} PROPERTIES COMPILE_OPTIONS -w)
  set_target_properties(
    ${target}
    PROPERTIES
      OUTPUT_NAME _native
      LIBRARY_OUTPUT_DIRECTORY "${folder}/$<CONFIG>/${module}"
      CXX_STANDARD 20
      CXX_STANDARD_REQUIRED ON
      CXX_EXTENSIONS OFF
  )
  _tvmake_root(root)
  target_include_directories(${target} SYSTEM PRIVATE "${root}/cpp/python")
  target_link_libraries(${target} PRIVATE ${ARG_MODEL})
  _tvmake_include_stdio(${target})
  _tvmake_name_module(${target})
  _tvmake_limit_module_exports(${target} "${folder}")
  _tvmake_install_module()
endfunction()

# These macros are tvmake_add_wheel_module()'s steps: they read its variables.

macro(_tvmake_check_module_arguments)
  if(NOT "${module}" MATCHES "^[A-Za-z_][A-Za-z0-9_]*$")
    string(MAKE_C_IDENTIFIER "${module}" identifier)
    _tvmake_fail(
      "${who}"
      "the module's name is '${module}'"
      EXPECTED "a Python identifier"
      FIX "tvmake_add_wheel_module(${identifier} …)"
    )
  endif()
  if(TARGET ${module}_module)
    _tvmake_fail("${who}" "there is a target '${module}_module' already" FIX "choose another name")
  endif()
  if(NOT ARG_MODEL)
    _tvmake_fail("${who}" "MODEL is missing" EXPECTED "MODEL <target of tvmake_add_model>")
  endif()
  _tvmake_check_model("${who}" MODEL "${ARG_MODEL}")
  get_target_property(type ${ARG_MODEL} TYPE)
  get_target_property(runtime ${ARG_MODEL} TVMAKE_RUNTIME)
  if(NOT type STREQUAL "STATIC_LIBRARY" OR NOT runtime STREQUAL "STATIC")
    _tvmake_fail(
      "${who}"
      "MODEL '${ARG_MODEL}' is a ${type} with RUNTIME ${runtime}"
      EXPECTED "a static library with a static runtime: the module holds all of it"
      FIX "tvmake_add_model(${ARG_MODEL} … LIBRARY STATIC RUNTIME STATIC)"
    )
  endif()
endmacro()

macro(_tvmake_install_module)
  _tvmake_package(package)
  install(TARGETS ${target} LIBRARY DESTINATION "${ARG_DESTINATION}")
  install(FILES ${python_files} "${package}/py.typed" DESTINATION "${ARG_DESTINATION}")
  get_target_property(weights ${ARG_MODEL} TVMAKE_WEIGHTS)
  if(weights STREQUAL "FILE")
    _tvmake_copy_weights(${target} ${ARG_MODEL})
    install(
      FILES "${model_folder}/weights.bin"
      DESTINATION "${ARG_DESTINATION}"
      RENAME "${ARG_MODEL}.weights.bin"
    )
  endif()
  _tvmake_add_bill_of_materials("${who}" ${ARG_MODEL} "${ARG_VERSION}" "${ARG_LICENSE}" nanobind)
  if(SKBUILD_METADATA_DIR)
    install(
      FILES
        "${model_folder}/sbom/${ARG_MODEL}.cdx.json"
        "${model_folder}/sbom/${ARG_MODEL}.spdx.json"
      DESTINATION "${SKBUILD_METADATA_DIR}/sboms"
    )
    install(
      DIRECTORY "${model_folder}/sbom/licenses/"
      DESTINATION "${SKBUILD_METADATA_DIR}/licenses/${ARG_MODEL}"
    )
  endif()
endmacro()
