# Android on 64-bit x86, as the emulator has it, with the NDK.
set(ANDROID_ABI x86_64)
set(TVMAKE_TARGET_TRIPLE x86_64-linux-android)
include("${CMAKE_CURRENT_LIST_DIR}/common/android.cmake")
