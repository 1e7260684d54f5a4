# Run with cmake -P after a library was built: put it into the cache, so that others see either nothing or
# all of it. Never fails the build: the library itself is fine.
#
#   LIBRARY   the file
#   ENTRY     the cache entry's folder, named by what decides about the file's bytes
#   IDENTITY  a text that says the same in words
#   INPUTS    lines of hash and path: the files that the name ENTRY stands for
cmake_policy(VERSION 3.25)

# A source edited since the configure run made another library than the one that ENTRY names.
file(STRINGS "${INPUTS}" inputs)
foreach(input IN LISTS inputs)
  string(SUBSTRING "${input}" 0 64 expected)
  string(SUBSTRING "${input}" 65 -1 path)
  set(actual "")
  if(EXISTS "${path}")
    file(SHA256 "${path}" actual)
  endif()
  if(NOT actual STREQUAL expected)
    return()
  endif()
endforeach()

get_filename_component(name "${LIBRARY}" NAME)
file(SHA256 "${LIBRARY}" hash)
if(EXISTS "${ENTRY}/${name}" AND EXISTS "${ENTRY}/sha256")
  file(SHA256 "${ENTRY}/${name}" present)
  file(STRINGS "${ENTRY}/sha256" expected LIMIT_COUNT 1)
  if(present STREQUAL expected)
    return()
  endif()
endif()

string(RANDOM LENGTH 12 unique)
set(temporary "${ENTRY}.${unique}.tmp")
get_filename_component(parent "${ENTRY}" DIRECTORY)
execute_process(
  COMMAND "${CMAKE_COMMAND}" -E make_directory "${temporary}"
  ERROR_VARIABLE error
  RESULT_VARIABLE result
)
if(NOT result EQUAL 0)
  message(STATUS "tvmake: ${parent} cannot be written; ${name} is not cached")
  return()
endif()
file(COPY_FILE "${LIBRARY}" "${temporary}/${name}" RESULT copied)
file(COPY_FILE "${IDENTITY}" "${temporary}/identity.txt" RESULT described)
if(NOT copied EQUAL 0 OR NOT described EQUAL 0)
  file(REMOVE_RECURSE "${temporary}")
  message(STATUS "tvmake: ${name} is not cached: ${copied} ${described}")
  return()
endif()
file(WRITE "${temporary}/sha256" "${hash}\n")

# A folder is renamed in one step, and not over one that has content: the first of two builds wins, and a
# damaged entry is moved away before.
if(EXISTS "${ENTRY}")
  file(RENAME "${ENTRY}" "${temporary}.damaged" RESULT moved)
  file(REMOVE_RECURSE "${temporary}.damaged")
endif()
file(RENAME "${temporary}" "${ENTRY}" RESULT renamed)
if(NOT renamed EQUAL 0)
  file(REMOVE_RECURSE "${temporary}")
endif()
