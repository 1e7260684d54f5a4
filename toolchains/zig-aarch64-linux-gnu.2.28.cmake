# As zig-aarch64-linux-gnu, for distributions since 2018: Debian 10, RHEL 8, Ubuntu 18.10 (manylinux_2_28).
set(TVMAKE_GLIBC 2.28)
include("${CMAKE_CURRENT_LIST_DIR}/zig-aarch64-linux-gnu.cmake")
