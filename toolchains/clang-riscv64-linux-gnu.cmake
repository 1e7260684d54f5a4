# 64-bit RISC-V Linux with Clang and a sysroot (-DCMAKE_SYSROOT=…).
set(CMAKE_SYSTEM_PROCESSOR riscv64)
set(TVMAKE_TARGET_TRIPLE riscv64-linux-gnu)
include("${CMAKE_CURRENT_LIST_DIR}/common/clang.cmake")
