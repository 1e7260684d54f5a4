# What the runtime is cut into: one block per component. A later component (vm, rpc) is one more block.
#
# _tvmake_component(<prefix> <component> <linkage>) sets in the caller:
#   <prefix>_FFI       sources of tvm-ffi, below its src/ffi
#   <prefix>_TVM       sources of TVM, below its src/runtime
#   <prefix>_OWN       sources of tvmake, below cpp
#   <prefix>_REQUIRES  components that it needs

function(_tvmake_components out)
  set(${out} core PARENT_SCOPE)
endfunction()

function(_tvmake_component prefix component linkage)
  set(ffi "")
  set(tvm "")
  set(own "")
  set(requires "")
  if(component STREQUAL "core")
    # Module loading and the registry, for the generic face; the executor. TVM's thread_pool.cc and
    # threading_backend.cc are left out: src/backend.cc takes their place.
    set(
      ffi
      backtrace.cc
      container.cc
      custom_allocator.cc
      dtype.cc
      error.cc
      function.cc
      init_once.cc
      object.cc
      tensor.cc
      extra/env_c_api.cc
      extra/env_context.cc
      extra/library_module.cc
      extra/library_module_dynamic_lib.cc
      extra/library_module_system_lib.cc
      extra/module.cc
    )
    set(tvm cpu_device_api.cc device_api.cc workspace_pool.cc)
    set(
      own
      src/backend.cc
      src/c_api.cc
      src/cpu_features.cc
      src/dtype.cc
      src/dynamic_reader.cc
      src/dynamic_shapes.cc
      src/executor.cc
      src/executor_impl.cc
      src/file.cc
      src/graph.cc
      src/graph_executor_module.cc
      src/graph_json.cc
      src/json.cc
      src/tensor_check.cc
      src/thread_pool.cc
      src/weights.cc
      src/workspace.cc
    )
    if(linkage STREQUAL "SHARED")
      list(APPEND own src/env_symbols.cc) # for modules that others compiled
    endif()
  endif()
  if(linkage STREQUAL "EXTERNAL")
    # The process has a tvm-ffi, with a registry of its own, where TVM may be registered already.
    set(ffi "")
    set(tvm "")
  endif()
  foreach(name IN ITEMS ffi tvm own requires)
    string(TOUPPER ${name} upper)
    set(${prefix}_${upper} "${${name}}" PARENT_SCOPE)
  endforeach()
endfunction()
