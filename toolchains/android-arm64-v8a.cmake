# Android on 64-bit ARM, with the NDK.
set(ANDROID_ABI arm64-v8a)
set(TVMAKE_TARGET_TRIPLE aarch64-linux-android)
include("${CMAKE_CURRENT_LIST_DIR}/common/android.cmake")
