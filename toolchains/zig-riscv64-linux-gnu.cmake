# 64-bit RISC-V Linux with Zig's C++ compiler, which pip installs.
set(CMAKE_SYSTEM_PROCESSOR riscv64)
set(TVMAKE_TARGET_TRIPLE riscv64-linux-gnu)
include("${CMAKE_CURRENT_LIST_DIR}/common/zig.cmake")
