# 64-bit RISC-V Linux with Debian's GCC: RV64GC, calling convention lp64d.
set(CMAKE_SYSTEM_PROCESSOR riscv64)
set(TVMAKE_TARGET_TRIPLE riscv64-linux-gnu)
include("${CMAKE_CURRENT_LIST_DIR}/common/gcc.cmake")
