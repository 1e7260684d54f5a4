# 64-bit ARM Linux with Debian's GCC: Raspberry Pi 3 and later, Jetson, Graviton.
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(TVMAKE_TARGET_TRIPLE aarch64-linux-gnu)
include("${CMAKE_CURRENT_LIST_DIR}/common/gcc.cmake")
