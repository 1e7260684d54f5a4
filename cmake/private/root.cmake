# The folder that holds cmake/, cpp/ and templates/.
get_filename_component(_tvmake_root_dir "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
set_property(GLOBAL PROPERTY TVMAKE_ROOT "${_tvmake_root_dir}")
unset(_tvmake_root_dir)
function(_tvmake_root out)
  get_property(root GLOBAL PROPERTY TVMAKE_ROOT)
  set(${out} "${root}" PARENT_SCOPE)
endfunction()

# The Python package: below that folder, or, in a wheel, around it.
function(_tvmake_package out)
  _tvmake_root(root)
  set(package "${root}/python/tvmake")
  if(NOT EXISTS "${package}")
    get_filename_component(package "${root}" DIRECTORY)
  endif()
  set(${out} "${package}" PARENT_SCOPE)
endfunction()
