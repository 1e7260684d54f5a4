# 64-bit ARM Linux with Zig's C++ compiler and musl: programs are fully static, one file runs anywhere.
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(TVMAKE_TARGET_TRIPLE aarch64-linux-musl)
include("${CMAKE_CURRENT_LIST_DIR}/common/zig.cmake")
