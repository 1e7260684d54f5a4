# Android: the NDK's own toolchain file, and what the kernels must know. The leaf file says ANDROID_ABI and
# TVMAKE_TARGET_TRIPLE.
#
#   ANDROID_NDK       folder of the NDK (default: the environment's ANDROID_NDK_HOME, ANDROID_NDK_ROOT,
#                     ANDROID_NDK)
#   ANDROID_PLATFORM  oldest Android that must run it (default android-24, Android 7)
include_guard()
include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/private/errors.cmake")

foreach(_tvmake_name IN ITEMS ANDROID_NDK_HOME ANDROID_NDK_ROOT ANDROID_NDK)
  if(NOT ANDROID_NDK AND NOT "$ENV{${_tvmake_name}}" STREQUAL "")
    file(TO_CMAKE_PATH "$ENV{${_tvmake_name}}" ANDROID_NDK)
  endif()
endforeach()
if(NOT ANDROID_NDK)
  _tvmake_fail(
    "tvmake"
    "the Android NDK is not known"
    EXPECTED "ANDROID_NDK, or the environment variable ANDROID_NDK_HOME, with its folder"
    FIX "get it from https://developer.android.com/ndk/downloads, then set ANDROID_NDK_HOME"
  )
endif()
set(_tvmake_ndk_file "${ANDROID_NDK}/build/cmake/android.toolchain.cmake")
if(NOT EXISTS "${_tvmake_ndk_file}")
  _tvmake_fail(
    "tvmake"
    "ANDROID_NDK '${ANDROID_NDK}' has no build/cmake/android.toolchain.cmake"
    EXPECTED "the folder of an Android NDK"
    FIX "correct ANDROID_NDK"
  )
endif()
if(NOT ANDROID_PLATFORM)
  set(ANDROID_PLATFORM android-24)
endif()
if(NOT ANDROID_STL)
  set(ANDROID_STL c++_static) # one image, nothing to ship beside it
endif()
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ANDROID_NDK ANDROID_ABI TVMAKE_TARGET_TRIPLE)
include("${_tvmake_ndk_file}")
# The NDK looks for packages in the NDK only; tvmake's own is one of the host.
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
