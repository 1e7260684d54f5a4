# tvmake_copy_weights(<beside> <model>…)
#
# Keeps the weights files of models beside a program (or library) that links them: <model>.weights.bin in
# the folder of the target's file, which is where the model looks for it.
#
#   <beside>   a target with a file: an executable, or a shared or module library.
#   <model>…   targets of tvmake_add_model() with WEIGHTS FILE. Models with embedded weights are left out.
#
# Example:
#   tvmake_add_model(resnet18 MODEL resnet18.onnx WEIGHTS FILE)
#   tvmake_copy_weights(app resnet18)
function(tvmake_copy_weights beside)
  set(who "tvmake_copy_weights(${beside})")
  if(NOT TARGET "${beside}")
    _tvmake_fail("${who}" "there is no target '${beside}'" EXPECTED "an executable or a library")
  endif()
  if(NOT ARGN)
    _tvmake_fail("${who}" "no model is named" EXPECTED "tvmake_copy_weights(${beside} <model>…)")
  endif()
  foreach(model IN LISTS ARGN)
    _tvmake_check_model("${who}" "argument" "${model}")
    get_target_property(weights ${model} TVMAKE_WEIGHTS)
    if(weights STREQUAL "FILE" AND NOT TARGET ${beside}_${model}_weights)
      _tvmake_copy_weights(${beside} ${model})
    endif()
  endforeach()
endfunction()
