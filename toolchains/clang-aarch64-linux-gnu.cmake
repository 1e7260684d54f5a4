# 64-bit ARM Linux with Clang and a sysroot (-DCMAKE_SYSROOT=…).
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(TVMAKE_TARGET_TRIPLE aarch64-linux-gnu)
include("${CMAKE_CURRENT_LIST_DIR}/common/clang.cmake")
