# tvmake_install_model(<model> [VERSION <version>] [LICENSE <expression>] [LICENSE_FILES <file>…]
#   [COMPONENT <component>])
#
# Makes a compiled model a product of its own: `cmake --install` puts it into the prefix as a CMake package
# and a pkg-config module. Who uses it needs neither tvmake nor TVM nor Python. The prefix may be moved.
#
#   <model>        a target of tvmake_add_model(), not one with RUNTIME EXTERNAL.
#   VERSION        of the package (default: the project's version, else 0.0.0).
#   LICENSE        of the model, as an SPDX expression, for the bill of materials.
#   LICENSE_FILES  texts that go with it, beside those of tvmake and TVM.
#   COMPONENT      of `cmake --install --component` (default <model>).
#
# Installs, below the folders of GNUInstallDirs:
#   include/<model>/               <model>.h, <model>.hpp and what they include
#   lib/                           the library; its runtime, if the library is a static one or shares it
#   lib/cmake/<model>/             find_package(<model>) gives the target <model>::<model>, and refuses a
#                                  build for another architecture, C library or float ABI
#   lib/pkgconfig/<model>.pc       the same for pkg-config
#   share/<model>/                 manifest.json: where the model came from; <model>.cdx.json and
#                                  <model>.spdx.json: the bill of materials (CycloneDX, SPDX); licenses/
#   <model>.weights.bin            with WEIGHTS FILE: in lib/ beside a shared library; in share/<model>/ with
#                                  a static one, to be copied beside the program; the package says where in
#                                  <model>_WEIGHTS_FILE
#
# Example:
#   project(networks VERSION 1.2.0 LANGUAGES C CXX)
#   tvmake_add_model(resnet18 MODEL resnet18.onnx LIBRARY SHARED)
#   tvmake_install_model(resnet18 LICENSE MIT LICENSE_FILES LICENSE)
#
#   # and in another project
#   find_package(resnet18 1.2 REQUIRED)
#   target_link_libraries(app PRIVATE resnet18::resnet18)
function(tvmake_install_model model)
  set(who "tvmake_install_model(${model})")
  set(values VERSION LICENSE COMPONENT)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "${values}" "LICENSE_FILES")
  _tvmake_check_unknown("${who}" "${ARG_UNPARSED_ARGUMENTS}" ${values} LICENSE_FILES)
  _tvmake_check_values("${who}" "${ARG_KEYWORDS_MISSING_VALUES}")
  _tvmake_check_model("${who}" "argument" "${model}")
  _tvmake_install_model_defaults()
  _tvmake_check_install_arguments()

  include(GNUInstallDirs)
  set(libdir "${CMAKE_INSTALL_LIBDIR}")
  set(includedir "${CMAKE_INSTALL_INCLUDEDIR}/${model}")
  set(datadir "${CMAKE_INSTALL_DATADIR}/${model}")
  get_target_property(folder ${model} TVMAKE_FOLDER)
  get_target_property(type ${model} TYPE)
  get_target_property(runtime ${model} TVMAKE_RUNTIME)
  get_target_property(weights ${model} TVMAKE_WEIGHTS)
  _tvmake_install_library()
  _tvmake_install_weights()
  _tvmake_install_provenance()
  _tvmake_install_package()
endfunction()

# These macros are tvmake_install_model()'s steps: they read and set its variables.

macro(_tvmake_install_model_defaults)
  if(NOT DEFINED ARG_VERSION)
    set(ARG_VERSION 0.0.0)
    if(PROJECT_VERSION)
      set(ARG_VERSION "${PROJECT_VERSION}")
    endif()
  endif()
  if(NOT DEFINED ARG_COMPONENT)
    set(ARG_COMPONENT ${model})
  endif()
  list(TRANSFORM ARG_LICENSE_FILES REPLACE "^([^/].*)$" "${CMAKE_CURRENT_SOURCE_DIR}/\\1")
endmacro()

macro(_tvmake_check_install_arguments)
  if(NOT ARG_VERSION MATCHES "^[0-9]+(\\.[0-9]+)?(\\.[0-9]+)?(\\.[0-9]+)?$")
    _tvmake_fail(
      "${who}"
      "VERSION is '${ARG_VERSION}'"
      EXPECTED "up to four numbers, for example 1.2.0"
    )
  endif()
  foreach(file IN LISTS ARG_LICENSE_FILES)
    if(NOT EXISTS "${file}")
      _tvmake_fail("${who}" "LICENSE_FILES has '${file}', which does not exist")
    endif()
  endforeach()
  get_target_property(runtime ${model} TVMAKE_RUNTIME)
  if(runtime STREQUAL "EXTERNAL")
    _tvmake_fail(
      "${who}"
      "the model has RUNTIME EXTERNAL, so a program cannot link it"
      EXPECTED "a model with RUNTIME STATIC or SHARED"
    )
  endif()
endmacro()

# The library, its headers, and the runtime where it is a file of its own.
macro(_tvmake_install_library)
  _tvmake_root(root)
  install(
    FILES "${folder}/include/${model}.h" "${folder}/include/${model}.hpp"
    DESTINATION "${includedir}"
    COMPONENT ${ARG_COMPONENT}
  )
  install(
    FILES "${root}/cpp/include/tvmake/model.h" "${root}/cpp/include/tvmake/model.hpp"
    DESTINATION "${includedir}/tvmake"
    COMPONENT ${ARG_COMPONENT}
  )
  install(
    TARGETS ${model}
    ARCHIVE DESTINATION "${libdir}" COMPONENT ${ARG_COMPONENT}
    LIBRARY DESTINATION "${libdir}" COMPONENT ${ARG_COMPONENT}
  )
  set(runtime_name "")
  if(runtime STREQUAL "SHARED")
    set_property(TARGET ${model} PROPERTY INSTALL_RPATH "$ORIGIN")
    set(runtime_name "$<TARGET_FILE_NAME:tvmake_runtime_shared>")
    install(
      FILES "$<TARGET_FILE:tvmake_runtime_shared>"
      DESTINATION "${libdir}"
      COMPONENT ${ARG_COMPONENT}
    )
  elseif(type STREQUAL "STATIC_LIBRARY")
    # Under the model's name, so that packages of two versions of tvmake do not overwrite each other's.
    set(runtime_name "${CMAKE_STATIC_LIBRARY_PREFIX}${model}_runtime${CMAKE_STATIC_LIBRARY_SUFFIX}")
    install(
      FILES "$<TARGET_FILE:tvmake_runtime_static>"
      DESTINATION "${libdir}"
      RENAME "${runtime_name}"
      COMPONENT ${ARG_COMPONENT}
    )
  endif()
endmacro()

macro(_tvmake_install_weights)
  set(weights_path "")
  if(weights STREQUAL "FILE")
    set(weights_dir "${libdir}")
    if(type STREQUAL "STATIC_LIBRARY")
      set(weights_dir "${datadir}")
    endif()
    set(weights_path "${weights_dir}/${model}.weights.bin")
    install(
      FILES "${folder}/weights.bin"
      DESTINATION "${weights_dir}"
      RENAME "${model}.weights.bin"
      COMPONENT ${ARG_COMPONENT}
    )
  endif()
endmacro()

macro(_tvmake_install_provenance)
  _tvmake_add_bill_of_materials("${who}" ${model} "${ARG_VERSION}" "${ARG_LICENSE}")
  install(
    FILES
      "${folder}/manifest.json"
      "${folder}/sbom/${model}.cdx.json"
      "${folder}/sbom/${model}.spdx.json"
    DESTINATION "${datadir}"
    COMPONENT ${ARG_COMPONENT}
  )
  install(DIRECTORY "${folder}/sbom/licenses" DESTINATION "${datadir}" COMPONENT ${ARG_COMPONENT})
  if(ARG_LICENSE_FILES)
    install(
      FILES ${ARG_LICENSE_FILES}
      DESTINATION "${datadir}/licenses/${model}"
      COMPONENT ${ARG_COMPONENT}
    )
  endif()
endmacro()
