# Tells find_package(tvmake <version>) whether this tvmake will do: the same minor version, and not older,
# until 1.0 makes promises. The version is the one in pyproject.toml.
file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../pyproject.toml" _tvmake_line REGEX "^version = \"")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" PACKAGE_VERSION "${_tvmake_line}")
unset(_tvmake_line)

set(PACKAGE_VERSION_COMPATIBLE FALSE)
set(PACKAGE_VERSION_EXACT FALSE)
if(PACKAGE_FIND_VERSION_RANGE)
  if(
    PACKAGE_VERSION VERSION_GREATER_EQUAL PACKAGE_FIND_VERSION_MIN
    AND
      (
        (
          PACKAGE_FIND_VERSION_RANGE_MAX STREQUAL "INCLUDE"
          AND PACKAGE_VERSION VERSION_LESS_EQUAL PACKAGE_FIND_VERSION_MAX
        )
        OR PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION_MAX
      )
  )
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
  endif()
elseif(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
  set(PACKAGE_VERSION_EXACT TRUE)
elseif(PACKAGE_VERSION VERSION_GREATER PACKAGE_FIND_VERSION)
  string(REGEX MATCH "^[0-9]+\\.[0-9]+" _tvmake_minor "${PACKAGE_VERSION}")
  string(REGEX MATCH "^[0-9]+(\\.[0-9]+)?" _tvmake_wanted "${PACKAGE_FIND_VERSION}")
  if("${_tvmake_minor}." MATCHES "^${_tvmake_wanted}\\.")
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
  endif()
  unset(_tvmake_minor)
  unset(_tvmake_wanted)
endif()
