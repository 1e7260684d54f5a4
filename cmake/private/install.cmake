# Installs tvmake itself, so that find_package(tvmake) works from the prefix: everything below
# share/tvmake, laid out as in the repository. Nothing of it is compiled.
include(GNUInstallDirs)

set(_tvmake_share "${CMAKE_INSTALL_DATADIR}/tvmake")
install(DIRECTORY cmake cpp templates toolchains DESTINATION "${_tvmake_share}" COMPONENT tvmake)
install(
  DIRECTORY python/tvmake
  DESTINATION "${_tvmake_share}/python"
  COMPONENT tvmake
  PATTERN __pycache__ EXCLUDE
)
install(FILES pyproject.toml LICENSE README.md DESTINATION "${_tvmake_share}" COMPONENT tvmake)
unset(_tvmake_share)
