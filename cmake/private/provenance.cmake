# Rules for what goes with a compiled model's files: the bill of materials and the licences' texts.

# Add the rule that writes <model>.cdx.json, <model>.spdx.json and licenses/ into the model's folder sbom/, as part of a full
# build. ARGN: further packages whose code is inside.
function(_tvmake_add_bill_of_materials who model version license)
  if(TARGET ${model}_sbom)
    return()
  endif()
  get_target_property(folder ${model} TVMAKE_FOLDER)
  set(output "${folder}/sbom")
  set(
    arguments
    sbom
    --manifest
    "${folder}/manifest.json"
    --output-dir
    "${output}"
    --name
    ${model}
    --version
    "${version}"
  )
  if(license)
    list(APPEND arguments --license "${license}")
  endif()
  foreach(package IN LISTS ARGN)
    list(APPEND arguments --with ${package})
  endforeach()
  _tvmake_plan("${who}" files depends "${output}" ${arguments})
  _tvmake_command(command ${arguments})
  _tvmake_touch_outputs(touch ${files})
  add_custom_command(
    OUTPUT ${files}
    COMMAND ${command} ${touch}
    DEPENDS "${folder}/manifest.json" ${depends}
    COMMENT "Writing the bill of materials of ${model}"
    VERBATIM
  )
  add_custom_target(${model}_sbom ALL DEPENDS ${files})
  add_dependencies(${model}_sbom ${model}_tvmake)
endfunction()
