# 32-bit ARM Linux, hard float, with Debian's GCC: Cortex-A7 and later (NEON and VFPv4).
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(TVMAKE_TARGET_TRIPLE armv7l-linux-gnueabihf)
set(TVMAKE_GNU_TRIPLE arm-linux-gnueabihf)
set(CMAKE_CXX_FLAGS_INIT "-Wno-psabi") # notes on what GCC 7 changed
include("${CMAKE_CURRENT_LIST_DIR}/common/gcc.cmake")
