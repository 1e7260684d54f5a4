# 32-bit ARM Linux, hard float, with Clang and a sysroot (-DCMAKE_SYSROOT=…).
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(TVMAKE_TARGET_TRIPLE armv7l-linux-gnueabihf)
set(TVMAKE_GNU_TRIPLE arm-linux-gnueabihf)
include("${CMAKE_CURRENT_LIST_DIR}/common/clang.cmake")
