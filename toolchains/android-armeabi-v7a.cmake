# Android on 32-bit ARM with NEON, with the NDK.
set(ANDROID_ABI armeabi-v7a)
set(TVMAKE_TARGET_TRIPLE armv7a-linux-androideabi)
include("${CMAKE_CURRENT_LIST_DIR}/common/android.cmake")
