# Names missing build tools before project() does, with the command that installs them. For tvmake's own
# CMakeLists.txt: included before project(), so nothing is known of the toolchain yet.

if(CMAKE_GENERATOR MATCHES "Ninja" AND NOT CMAKE_MAKE_PROGRAM)
  find_program(_tvmake_ninja NAMES ninja ninja-build samu NO_CACHE NO_CMAKE_FIND_ROOT_PATH)
  if(NOT _tvmake_ninja)
    _tvmake_fail(
      "tvmake"
      "the build tool ninja is missing"
      FIX "apt-get install ninja-build, or pip install ninja"
    )
  endif()
endif()

if(NOT CMAKE_TOOLCHAIN_FILE AND NOT CMAKE_CXX_COMPILER AND "$ENV{CXX}" STREQUAL "")
  find_program(
    _tvmake_compiler
    NAMES c++ g++ clang++ CC NO_CACHE
    NO_CMAKE_FIND_ROOT_PATH
  )
  if(NOT _tvmake_compiler)
    _tvmake_fail("tvmake" "a C++ compiler is missing" FIX "apt-get install g++")
  endif()
endif()
