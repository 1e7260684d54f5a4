# 64-bit x86 Linux with Clang and a sysroot (-DCMAKE_SYSROOT=…).
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(TVMAKE_TARGET_TRIPLE x86_64-linux-gnu)
include("${CMAKE_CURRENT_LIST_DIR}/common/clang.cmake")
