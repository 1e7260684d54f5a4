# 64-bit ARM Linux with Zig's C++ compiler, which pip installs.
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(TVMAKE_TARGET_TRIPLE aarch64-linux-gnu)
include("${CMAKE_CURRENT_LIST_DIR}/common/zig.cmake")
