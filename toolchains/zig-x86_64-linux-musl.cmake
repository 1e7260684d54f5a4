# 64-bit x86 Linux with Zig's C++ compiler and musl: programs are fully static, one file runs anywhere.
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(TVMAKE_TARGET_TRIPLE x86_64-linux-musl)
include("${CMAKE_CURRENT_LIST_DIR}/common/zig.cmake")
