# The package files of an installed model: CMake's and pkg-config's.

# Reads and sets the variables of tvmake_install_model().
macro(_tvmake_install_package)
  include(CMakePackageConfigHelpers)
  set(package_dir "${libdir}/cmake/${model}")
  set(package_build "${folder}/package")
  _tvmake_root(root)
  set(templates "${root}/cmake/private/package")
  _tvmake_target_triple(triple)
  math(EXPR pointer_bits "${CMAKE_SIZEOF_VOID_P} * 8")
  _tvmake_package_links(cmake_links cpp_links pc_links)
  string(REGEX REPLACE "_LIBRARY$" "" package_type "${type}")

  configure_package_config_file(
    "${templates}/model-config.cmake.in"
    "${package_build}/config.in"
    INSTALL_DESTINATION "${package_dir}"
    PATH_VARS libdir includedir weights_path
    NO_SET_AND_CHECK_MACRO
    NO_CHECK_REQUIRED_COMPONENTS_MACRO
  )
  write_basic_package_version_file(
    "${package_build}/${model}-config-version.cmake"
    VERSION ${ARG_VERSION}
    COMPATIBILITY SameMajorVersion
    ARCH_INDEPENDENT # the package itself tells what it is for, in words
  )
  _tvmake_pkgconfig_path(pc_libdir "${libdir}")
  _tvmake_pkgconfig_path(pc_includedir "${includedir}")
  _tvmake_pkgconfig_path(pc_weights "${weights_path}")
  file(RELATIVE_PATH pc_prefix "/prefix/${libdir}/pkgconfig" /prefix)
  configure_file("${templates}/model.pc.in" "${package_build}/pc.in" @ONLY)
  foreach(pair IN ITEMS "config.in=${model}-config.cmake" "pc.in=${model}.pc")
    string(REGEX MATCH "^(.*)=(.*)$" pair "${pair}")
    file(
      GENERATE OUTPUT "${package_build}/$<CONFIG>/${CMAKE_MATCH_2}"
      INPUT "${package_build}/${CMAKE_MATCH_1}"
    )
  endforeach()
  install(
    FILES
      "${package_build}/$<CONFIG>/${model}-config.cmake"
      "${package_build}/${model}-config-version.cmake"
    DESTINATION "${package_dir}"
    COMPONENT ${ARG_COMPONENT}
  )
  install(
    FILES "${package_build}/$<CONFIG>/${model}.pc"
    DESTINATION "${libdir}/pkgconfig"
    COMPONENT ${ARG_COMPONENT}
  )
endmacro()

# What a program that links a static model links too: of the system; of C++, where the program is none;
# both for pkg-config.
function(_tvmake_package_links out_system out_cpp out_pc)
  _tvmake_system_libraries(system)
  set(cpp ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
  list(FILTER cpp INCLUDE REGEX "^(stdc\\+\\+|c\\+\\+|c\\+\\+abi|m)$")
  list(REMOVE_DUPLICATES cpp)
  list(TRANSFORM cpp PREPEND "-l")
  list(TRANSFORM system REPLACE "^([^-].*)$" "-l\\1")
  set(${out_system} "${system}" PARENT_SCOPE)
  set(${out_cpp} "${cpp}" PARENT_SCOPE)
  set(words ${cpp} ${system})
  list(JOIN words " " words)
  set(${out_pc} "${words}" PARENT_SCOPE)
endfunction()

# A path of the package as pkg-config's files say it.
function(_tvmake_pkgconfig_path out path)
  if(path AND NOT IS_ABSOLUTE "${path}")
    set(path "\${prefix}/${path}")
  endif()
  set(${out} "${path}" PARENT_SCOPE)
endfunction()
