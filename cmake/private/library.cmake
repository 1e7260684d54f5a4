# Libraries that are the same for many projects: built with the user's own toolchain in the user's own
# build, and kept in the cache folder for the next build tree that needs the same.
#
# _tvmake_library(<target> TYPE STATIC|SHARED OUTPUT_NAME <name> …) with these lists:
#   SOURCES, SYSTEM_SOURCES            tvmake's, and those of others
#   EXTRA_SOURCES, EXTRA_SYSTEM_SOURCES  likewise, that not every program links
#   FILES                              further files that count: headers, scripts
#   INCLUDES, SYSTEM_INCLUDES, DEFINITIONS, OPTIONS, LINK_OPTIONS, LIBRARIES
#   PREFIX_MAP                         options that do not count: they only hide paths
#   INTERFACE_INCLUDES, INTERFACE_DEFINITIONS, INTERFACE_LIBRARIES
#
# Creates the target, either IMPORTED from a copy of the cache's file, or as a normal target that is
# published to the cache once it is built. Which of both is remembered in the build tree, so that a later
# configure run does not flip it and link everything anew.
#
# These libraries are always optimised, whatever the build type: kernels and runtime are slow beyond use
# without. So all build types share one cache entry, except where their flags differ in more than
# optimisation and debug information (sanitizers, -march). Options of the surrounding directory
# (add_compile_options and the like) do not count here; CMAKE_CXX_FLAGS does.
function(_tvmake_library target)
  cmake_parse_arguments(
    PARSE_ARGV 1
    ARG
    ""
    "TYPE;OUTPUT_NAME"
    "SYSTEM_SOURCES;SOURCES;EXTRA_SYSTEM_SOURCES;EXTRA_SOURCES;INCLUDES;SYSTEM_INCLUDES;DEFINITIONS;OPTIONS;LINK_OPTIONS;LIBRARIES;PREFIX_MAP;FILES;INTERFACE_INCLUDES;INTERFACE_DEFINITIONS;INTERFACE_LIBRARIES"
  )
  _tvmake_library_identity(
    identity
    ${target}
    ${ARG_TYPE}
    "${ARG_DEFINITIONS}"
    "${ARG_OPTIONS}"
    "${ARG_LINK_OPTIONS}"
    "${ARG_LIBRARIES}"
  )
  set(own_inputs ${ARG_SOURCES} ${ARG_EXTRA_SOURCES} ${ARG_FILES})
  set(inputs ${ARG_SYSTEM_SOURCES} ${ARG_EXTRA_SYSTEM_SOURCES} ${own_inputs})
  _tvmake_hash_files(content hashes ${inputs})
  string(APPEND identity "${content}")
  string(SHA256 key "${identity}")

  set(folder "${CMAKE_BINARY_DIR}/tvmake/${target}")
  set(
    file
    "${CMAKE_${ARG_TYPE}_LIBRARY_PREFIX}${ARG_OUTPUT_NAME}${CMAKE_${ARG_TYPE}_LIBRARY_SUFFIX}"
  )
  _tvmake_cache_dir(cache)
  set(entry "${cache}/lib/${key}")
  _tvmake_choose_source(source "${key}" "${entry}" "${folder}/cached/${file}" ${target})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${own_inputs})
  if(source STREQUAL "cached")
    add_library(${target} ${ARG_TYPE} IMPORTED GLOBAL)
    set_target_properties(
      ${target}
      PROPERTIES
        IMPORTED_LOCATION "${folder}/cached/${file}"
        IMPORTED_SONAME "${file}"
        IMPORTED_LINK_INTERFACE_LANGUAGES CXX
    )
    # Whoever removes the copy gets it back by the configure run that this causes.
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${folder}/cached/${file}")
  else()
    # tvmake's own objects come first: where both it and TVM define a function, an archive's first wins.
    _tvmake_unite(own_units "${folder}" SOURCES EXTRA_SOURCES)
    _tvmake_unite(system_units "${folder}" SYSTEM_SOURCES EXTRA_SYSTEM_SOURCES)
    add_library(${target} ${ARG_TYPE} ${own_units} ${system_units})
    _tvmake_compile_library(${target})
    set_target_properties(
      ${target}
      PROPERTIES
        OUTPUT_NAME "${ARG_OUTPUT_NAME}"
        ARCHIVE_OUTPUT_DIRECTORY "${folder}/built"
        LIBRARY_OUTPUT_DIRECTORY "${folder}/built"
    )
    _tvmake_root(root)
    file(WRITE "${folder}/identity.txt" "${identity}")
    file(WRITE "${folder}/inputs.txt" "${hashes}")
    add_custom_command(
      TARGET ${target}
      POST_BUILD
      COMMAND
        "${CMAKE_COMMAND}" "-DLIBRARY=$<TARGET_FILE:${target}>" "-DENTRY=${entry}"
        "-DIDENTITY=${folder}/identity.txt" "-DINPUTS=${folder}/inputs.txt" -P
        "${root}/cmake/private/publish.cmake"
      COMMENT ""
      VERBATIM
    )
  endif()
  set_target_properties(
    ${target}
    PROPERTIES
      INTERFACE_INCLUDE_DIRECTORIES "${ARG_INTERFACE_INCLUDES}"
      INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${ARG_INTERFACE_INCLUDES}"
      INTERFACE_COMPILE_DEFINITIONS "${ARG_INTERFACE_DEFINITIONS}"
  )
  target_link_libraries(${target} INTERFACE ${ARG_INTERFACE_LIBRARIES})
endfunction()

# Set <out> to one translation unit for each of the lists, read from the caller's ARG_*. It compiles in half
# the time, as nearly all of that goes into headers and templates that the sources share. An archive gives a
# program whole units, hence the lists of what not every program links.
function(_tvmake_unite out folder)
  set(units "")
  foreach(list IN LISTS ARGN)
    set(text "")
    foreach(source IN LISTS ARG_${list})
      string(APPEND text "#include \"${source}\"\n")
    endforeach()
    if(text)
      string(TOLOWER "${list}" name)
      set(unit "${folder}/${name}.cc")
      _tvmake_write_if_changed("${unit}" "${text}")
      list(APPEND units "${unit}")
    endif()
  endforeach()
  set(${out} "${units}" PARENT_SCOPE)
endfunction()

# The compile settings of a library that is built here. Reads the caller's ARG_* and units. Overwrites
# instead of appending, so that the surrounding directory's options stay out.
macro(_tvmake_compile_library target)
  # Not ours, so without warnings; and nearly all of it is registration, which runs once: made small.
  if(system_units)
    set_source_files_properties(
      ${system_units}
      PROPERTIES COMPILE_OPTIONS "-w;-Os;-fvisibility=hidden"
    )
  endif()
  set_target_properties(
    ${target}
    PROPERTIES
      COMPILE_DEFINITIONS "${ARG_DEFINITIONS}"
      COMPILE_OPTIONS "-Wall;-Wextra;${ARG_OPTIONS};${ARG_PREFIX_MAP}"
      INCLUDE_DIRECTORIES "${ARG_INCLUDES}"
      LINK_OPTIONS "${ARG_LINK_OPTIONS}"
      LINK_LIBRARIES "${ARG_LIBRARIES}"
      CXX_STANDARD 20
      CXX_STANDARD_REQUIRED ON
      CXX_EXTENSIONS OFF
      CXX_SCAN_FOR_MODULES OFF
      POSITION_INDEPENDENT_CODE ON
      VISIBILITY_INLINES_HIDDEN ON
      INTERPROCEDURAL_OPTIMIZATION OFF
      UNITY_BUILD OFF
      CXX_CLANG_TIDY ""
      CXX_CPPCHECK ""
      CXX_INCLUDE_WHAT_YOU_USE ""
  )
  target_include_directories(${target} SYSTEM PRIVATE ${ARG_SYSTEM_INCLUDES})
endmacro()

# Everything but the files that decides about a library's bytes, as readable lines.
function(
  _tvmake_library_identity
  out
  target
  type
  definitions
  options
  link_options
  libraries
)
  _tvmake_target_triple(triple)
  file(SIZE "${CMAKE_CXX_COMPILER}" compiler_size)
  file(TIMESTAMP "${CMAKE_CXX_COMPILER}" compiler_time UTC)
  _tvmake_semantic_flags(flags)
  set(identity "")
  foreach(
    line
    IN
    ITEMS
      "library ${target} ${type}"
      "triple ${triple}"
      "compiler ${CMAKE_CXX_COMPILER} ${CMAKE_CXX_COMPILER_ARG1}"
      "version ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} ${compiler_size} ${compiler_time}"
      "sysroot ${CMAKE_SYSROOT} ${CMAKE_CXX_COMPILER_TARGET} ${CMAKE_CXX_COMPILER_EXTERNAL_TOOLCHAIN}"
      "archiver ${CMAKE_AR} ${CMAKE_CXX_COMPILER_AR}"
      "flags ${flags}"
      "definitions ${definitions}"
      "options ${options}"
      "units, system -Os -fvisibility=hidden"
      "link ${CMAKE_SHARED_LINKER_FLAGS} ${link_options} ${libraries}"
  )
    string(APPEND identity "${line}\n")
  endforeach()
  _tvmake_root(root)
  string(REPLACE "${root}/" "" identity "${identity}") # the same wherever tvmake lies
  set(${out} "${identity}" PARENT_SCOPE)
endfunction()

# The user's compile flags but for those that only choose optimisation level, debug information or
# assertions: the libraries set these themselves. With several configurations, all of them.
function(_tvmake_semantic_flags out)
  set(configurations "${CMAKE_CONFIGURATION_TYPES}")
  if(NOT configurations)
    set(configurations "${CMAKE_BUILD_TYPE}")
  endif()
  if(NOT configurations)
    set(configurations none)
  endif()
  set(all "")
  foreach(configuration IN LISTS configurations)
    string(TOUPPER "${configuration}" configuration)
    set(flags " ${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${configuration}} ")
    string(REGEX REPLACE " +" "  " flags "${flags}")
    string(REGEX REPLACE " (-O[^ ]*|-g[0-9]?|-ggdb[0-9]?|-DNDEBUG) " " " flags "${flags}")
    string(REGEX REPLACE " +" " " flags "${flags}")
    string(STRIP "${flags}" flags)
    list(APPEND all "[${flags}]")
  endforeach()
  list(REMOVE_DUPLICATES all)
  set(${out} "${all}" PARENT_SCOPE)
endfunction()

# Hashes and names of files, one per line, in a stable order. In <out_names> folders do not count;
# <out_paths> has the full paths.
function(_tvmake_hash_files out_names out_paths)
  set(names "")
  set(paths "")
  foreach(file IN LISTS ARGN)
    file(SHA256 "${file}" hash)
    get_filename_component(name "${file}" NAME)
    list(APPEND names "${hash} ${name}")
    list(APPEND paths "${hash} ${file}")
  endforeach()
  list(REMOVE_DUPLICATES names)
  list(SORT names)
  list(JOIN names "\n" names)
  list(JOIN paths "\n" paths)
  set(${out_names} "${names}\n" PARENT_SCOPE)
  set(${out_paths} "${paths}\n" PARENT_SCOPE)
endfunction()

# Decide between "cached" (then <copy> holds the cache's file) and "built", and remember it.
function(
  _tvmake_choose_source
  out
  key
  entry
  copy
  target
)
  set(remembered "${_TVMAKE_LIBRARY_${target}}")
  set(source built)
  if(remembered STREQUAL "${key} cached" AND EXISTS "${copy}")
    set(source cached)
  elseif(NOT remembered STREQUAL "${key} built")
    get_filename_component(file "${copy}" NAME)
    _tvmake_cache_entry_valid(valid "${entry}" "${file}")
    if(valid)
      get_filename_component(folder "${copy}" DIRECTORY)
      file(MAKE_DIRECTORY "${folder}")
      file(COPY_FILE "${entry}/${file}" "${copy}" RESULT copied)
      if(copied EQUAL 0)
        set(source cached)
        message(STATUS "tvmake: ${file} comes from the cache")
      endif()
    endif()
  endif()
  set(_TVMAKE_LIBRARY_${target} "${key} ${source}" CACHE INTERNAL "where ${target} comes from")
  set(${out} ${source} PARENT_SCOPE)
endfunction()

# Whether the cache holds an entry, and undamaged.
function(_tvmake_cache_entry_valid out entry file)
  set(${out} FALSE PARENT_SCOPE)
  if(NOT EXISTS "${entry}")
    return()
  endif()
  set(expected "")
  set(actual "missing")
  if(EXISTS "${entry}/sha256")
    file(STRINGS "${entry}/sha256" expected LIMIT_COUNT 1)
  endif()
  if(EXISTS "${entry}/${file}")
    file(SHA256 "${entry}/${file}" actual)
  endif()
  if(expected STREQUAL actual)
    set(${out} TRUE PARENT_SCOPE)
  else()
    message(STATUS "tvmake: the cache entry ${entry} is damaged; ${file} is built again")
  endif()
endfunction()
