# 32-bit ARM Linux, hard float, with Zig's C++ compiler, which pip installs.
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(TVMAKE_TARGET_TRIPLE armv7l-linux-gnueabihf)
set(TVMAKE_GNU_TRIPLE arm-linux-gnueabihf)
set(TVMAKE_ZIG_TARGET arm-linux-gnueabihf)
include("${CMAKE_CURRENT_LIST_DIR}/common/zig.cmake")
