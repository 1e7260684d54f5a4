# What the runtime is cut into: one block per component. A later component (vm, rpc) is one more block.
#
# _tvmake_component(<prefix> <component> <linkage>) sets in the caller:
#   <prefix>_FFI        sources of tvm-ffi, below its src/ffi
#   <prefix>_OWN        sources of tvmake, below cpp
#   <prefix>_EXTRA_FFI, <prefix>_EXTRA_OWN
#                       likewise, for the generic face: programs that use the C interface only do not link them
#   <prefix>_EXTRA_TVM  sources of TVM, below its src/runtime, for the generic face
#   <prefix>_REQUIRES   components that it needs

function(_tvmake_components out)
  set(${out} core PARENT_SCOPE)
endfunction()

function(_tvmake_component prefix component linkage)
  foreach(
    name
    IN
    ITEMS ffi own extra_ffi extra_tvm extra_own requires
  )
    set(${name} "")
  endforeach()
  if(component STREQUAL "core")
    # Module loading and the registry, for the generic face; the executor. TVM's thread_pool.cc and
    # threading_backend.cc are left out: src/backend.cc takes their place.
    set(ffi backtrace.cc error.cc function.cc object.cc)
    set(
      extra_ffi
      container.cc
      custom_allocator.cc
      dtype.cc
      init_once.cc
      tensor.cc
      extra/env_c_api.cc
      extra/env_context.cc
      extra/library_module.cc
      extra/library_module_dynamic_lib.cc
      extra/library_module_system_lib.cc
      extra/module.cc
    )
    set(extra_tvm cpu_device_api.cc device_api.cc workspace_pool.cc)
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
      src/graph_json.cc
      src/json.cc
      src/tensor_check.cc
      src/thread_pool.cc
      src/weights.cc
      src/workspace.cc
    )
    set(extra_own src/graph_executor_module.cc)
    if(linkage STREQUAL "SHARED")
      list(APPEND extra_own src/env_symbols.cc) # for modules that others compiled
    endif()
  endif()
  if(linkage STREQUAL "EXTERNAL")
    # The process has a tvm-ffi, with a registry of its own, where TVM may be registered already.
    set(ffi "")
    set(extra_ffi "")
    set(extra_tvm "")
  endif()
  foreach(
    name
    IN
    ITEMS ffi own extra_ffi extra_tvm extra_own requires
  )
    string(TOUPPER ${name} upper)
    set(${prefix}_${upper} "${${name}}" PARENT_SCOPE)
  endforeach()
endfunction()
