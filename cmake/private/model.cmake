# The steps of tvmake_add_model() that create rules and targets. They are macros for the first argument's
# sake only: they read the caller's ARG_* and who.

# spec.json, and the two rules: model -> kernels, weights, graph, manifest; manifest -> C++ sources. Sets
# folder, compiled and rendered.
macro(_tvmake_add_compilation target)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/tvmake/${target}")
  file(MAKE_DIRECTORY "${folder}/include")
  _tvmake_target_triple(triple)
  _tvmake_check_features("${who}" "${triple}" ${ARG_FEATURES})
  _tvmake_write_spec("${folder}/spec.json" ${target} "${triple}")
  _tvmake_cache_dir(cache)

  set(
    arguments
    compile
    --spec
    "${folder}/spec.json"
    --output-dir
    "${folder}"
  )
  list(APPEND arguments --depfile "${folder}/compile.d" --cache-dir "${cache}/kernels")
  _tvmake_plan("${who}" compiled depends "${folder}" ${arguments})
  _tvmake_command(command ${arguments})
  _tvmake_compile_pool()
  _tvmake_touch_outputs(touch ${compiled})
  get_filename_component(model_name "${ARG_MODEL}" NAME)
  add_custom_command(
    OUTPUT ${compiled}
    COMMAND ${command} ${touch}
    DEPENDS "${folder}/spec.json" "${ARG_MODEL}" ${depends}
    DEPFILE "${folder}/compile.d"
    JOB_POOL tvmake_compile
    COMMENT "Compiling ${model_name} to ${target} for ${triple}"
    VERBATIM
  )
  _tvmake_add_rendering("${who}" rendered "${folder}" ${target})
  add_custom_target(${target}_tvmake DEPENDS ${compiled} ${rendered})
endmacro()

# The rule manifest -> C++ sources. Further arguments go to `render`. Sets <out> to the files.
function(_tvmake_add_rendering who out folder name)
  set(
    arguments
    render
    --manifest
    "${folder}/manifest.json"
    --output-dir
    "${folder}"
    ${ARGN}
  )
  _tvmake_plan("${who}" files depends "${folder}" ${arguments})
  _tvmake_command(command ${arguments})
  _tvmake_touch_outputs(touch ${files})
  add_custom_command(
    OUTPUT ${files}
    COMMAND ${command} ${touch}
    DEPENDS "${folder}/manifest.json" ${depends}
    COMMENT "Rendering the C++ sources of ${name}"
    VERBATIM
  )
  set(${out} "${files}" PARENT_SCOPE)
endfunction()

# tvmake leaves a file alone that has its content already, so that what depends on it does not run. Ninja
# understands that (restat); other generators would run the rule for ever, so there the files are touched.
function(_tvmake_touch_outputs out)
  set(${out} "" PARENT_SCOPE)
  if(NOT CMAKE_GENERATOR MATCHES "Ninja")
    set(
      ${out}
      COMMAND
      "${CMAKE_COMMAND}"
      -E
      touch
      ${ARGN}
      PARENT_SCOPE
    )
  endif()
endfunction()

# A compile run takes all cores at times and gigabytes for a large model: few at once.
function(_tvmake_compile_pool)
  set(jobs 2)
  if(TVMAKE_COMPILE_JOBS)
    set(jobs ${TVMAKE_COMPILE_JOBS})
  endif()
  get_property(pools GLOBAL PROPERTY JOB_POOLS)
  if(NOT pools MATCHES "tvmake_compile=")
    set_property(GLOBAL APPEND PROPERTY JOB_POOLS tvmake_compile=${jobs})
  endif()
endfunction()

function(_tvmake_write_spec path target triple)
  _tvmake_json_string(name "${target}")
  _tvmake_json_string(model "${ARG_MODEL}")
  _tvmake_json_array(inputs ${ARG_INPUTS})
  _tvmake_json_array(outputs ${ARG_OUTPUTS})
  _tvmake_json_array(preprocess ${ARG_PREPROCESS})
  _tvmake_json_string(executor "${ARG_EXECUTOR}")
  _tvmake_json_string(weights "${ARG_WEIGHTS}")
  _tvmake_json_string(optimize "${ARG_OPTIMIZE}")
  _tvmake_json_string(namespace "${ARG_NAMESPACE}")
  _tvmake_json_string(triple "${triple}")
  _tvmake_json_string(cpu "${ARG_CPU}")
  _tvmake_json_array(features ${ARG_FEATURES})
  _tvmake_write_if_changed(
    "${path}"
    "{
  \"schema\": 1,
  \"name\": ${name},
  \"model\": ${model},
  \"inputs\": ${inputs},
  \"outputs\": ${outputs},
  \"preprocess\": ${preprocess},
  \"executor\": ${executor},
  \"weights\": ${weights},
  \"optimize\": ${optimize},
  \"namespace\": ${namespace},
  \"target\": {\"triple\": ${triple}, \"cpu\": ${cpu}, \"features\": ${features}}
}
"
  )
endfunction()

# The library target, from what _tvmake_add_compilation() makes.
macro(_tvmake_add_model_library target)
  _tvmake_root(root)
  _tvmake_sources(source)
  set(kernels "${compiled}")
  list(FILTER kernels INCLUDE REGEX "\\.o$")
  set(loader "${rendered}")
  list(FILTER loader INCLUDE REGEX "\\.(cc|cpp)$")
  string(TOLOWER "${ARG_RUNTIME}" linkage)

  add_library(${target} ${ARG_LIBRARY} ${rendered} ${kernels})
  add_library(${target}::${target} ALIAS ${target})
  add_dependencies(${target} ${target}_tvmake)
  set_source_files_properties(${kernels} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  _tvmake_loader_definitions(definitions)
  set_source_files_properties(
    ${loader}
    PROPERTIES
      OBJECT_DEPENDS "${folder}/weights.bin;${folder}/graph.json"
      COMPILE_DEFINITIONS "${definitions}"
      COMPILE_OPTIONS -w # the project's warning flags are for its own code
  )
  set_target_properties(
    ${target}
    PROPERTIES
      CXX_STANDARD 20
      CXX_STANDARD_REQUIRED ON
      CXX_EXTENSIONS OFF
      CXX_SCAN_FOR_MODULES OFF
      CXX_VISIBILITY_PRESET hidden
      VISIBILITY_INLINES_HIDDEN ON
      POSITION_INDEPENDENT_CODE ON
      TVMAKE_MODEL "${ARG_MODEL}"
      TVMAKE_MANIFEST "${folder}/manifest.json"
      TVMAKE_FOLDER "${folder}"
      TVMAKE_WEIGHTS "${ARG_WEIGHTS}"
      TVMAKE_WEIGHTS_FILE "${folder}/weights.bin"
      TVMAKE_RUNTIME "${ARG_RUNTIME}"
  )
  target_include_directories(${target} SYSTEM PUBLIC "${folder}/include" "${root}/cpp/include")
  target_include_directories(${target} SYSTEM PRIVATE ${source_INCLUDES})
  target_link_libraries(${target} PRIVATE tvmake::runtime_${linkage})
  if(ARG_LIBRARY STREQUAL "SHARED")
    _tvmake_limit_exports(${target} "${folder}" ${ARG_RUNTIME})
    if(ARG_WEIGHTS STREQUAL "FILE")
      _tvmake_copy_weights(${target} ${target})
    endif()
  endif()
  set_property(GLOBAL APPEND PROPERTY TVMAKE_MODELS ${target})
endmacro()

# Generated sources hold no path: where the data to embed is, comes from outside.
macro(_tvmake_loader_definitions out)
  set(
    ${out}
    "TVMAKE_GRAPH_FILE=\"${folder}/graph.json\""
    "TVMAKE_WEIGHTS_FILE=\"${folder}/weights.bin\""
  )
  if(NOT ARG_RUNTIME STREQUAL "STATIC")
    list(APPEND ${out} TVMAKE_EXPORT_MODULE=1)
  endif()
endmacro()

# A model library exports its C functions, and its module entry if it has one; nothing of TVM.
function(_tvmake_limit_exports target folder runtime)
  set(symbols "${target}_*")
  if(NOT runtime STREQUAL "STATIC")
    list(APPEND symbols __tvm_ffi_default)
  endif()
  if(APPLE)
    list(TRANSFORM symbols PREPEND "_")
    list(JOIN symbols "\n" lines)
    _tvmake_write_if_changed("${folder}/exports.txt" "${lines}\n")
    target_link_options(
      ${target}
      PRIVATE "LINKER:-exported_symbols_list,${folder}/exports.txt" "LINKER:-dead_strip"
    )
  else()
    list(JOIN symbols "; " names)
    _tvmake_write_if_changed("${folder}/exports.txt" "{ global: ${names}; local: *; };\n")
    target_link_options(
      ${target}
      PRIVATE "LINKER:--version-script=${folder}/exports.txt" "LINKER:--gc-sections"
    )
    if(NOT runtime STREQUAL "EXTERNAL")
      target_link_options(${target} PRIVATE "LINKER:--no-undefined")
    endif()
  endif()
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS "${folder}/exports.txt")
endfunction()

# Keep <model>.weights.bin beside the file of <beside>, a program or a library.
function(_tvmake_copy_weights beside model)
  get_target_property(weights ${model} TVMAKE_WEIGHTS_FILE)
  set(stamp "${CMAKE_CURRENT_BINARY_DIR}/tvmake/${model}-weights-of-${beside}-$<CONFIG>.stamp")
  add_custom_command(
    OUTPUT "${stamp}"
    COMMAND
      "${CMAKE_COMMAND}" -E copy_if_different "${weights}"
      "$<TARGET_FILE_DIR:${beside}>/${model}.weights.bin"
    COMMAND "${CMAKE_COMMAND}" -E touch "${stamp}"
    DEPENDS "${weights}"
    COMMENT "Copying the weights of ${model} beside ${beside}"
    VERBATIM
  )
  add_custom_target(${beside}_${model}_weights DEPENDS "${stamp}")
  add_dependencies(${beside}_${model}_weights ${model}_tvmake)
  add_dependencies(${beside} ${beside}_${model}_weights)
endfunction()
