// The generic face of an executor: a tvm-ffi module with the functions of TVM's GraphExecutor.
#ifndef TVMAKE_GRAPH_EXECUTOR_MODULE_H_
#define TVMAKE_GRAPH_EXECUTOR_MODULE_H_

#include <tvm/ffi/c_api.h>

#include <cstdint>

#include "tvmake/executor.h"

namespace tvmake {

// What a model library exports as its `"default"` function:
//
//   extern "C" TVM_FFI_DLL_EXPORT int __tvm_ffi_default(void*, const TVMFFIAny* args,
//                                                       int32_t num_args, TVMFFIAny* result) {
//     return tvmake::CreateGraphExecutorModule(kModel, args, num_args, result);
//   }
//
// Arguments: device [, weights path (str, "" = default) [, number of threads (int, 0 = default)]].
// Returns 0 and a module in `result`, or non-zero with the error raised in tvm-ffi.
//
// The module's functions, where `i` is an index and `key` an index or a name:
//   set_input(key, tensor)              copies
//   set_input_zero_copy(key, tensor)    binds; the module keeps the tensor alive
//   set_output_zero_copy(key, tensor)   binds; the module keeps the tensor alive
//   run()
//   get_input(key) -> tensor            a view that keeps the executor alive
//   get_output(key) -> tensor           a view that keeps the executor alive
//   get_output(key, tensor)             copies into `tensor`
//   get_num_inputs() get_num_outputs() -> int
//   get_input_index(name) get_output_index(name) -> int, -1: no such name
//   get_input_info() get_output_info() -> {"names": [str], "shape": {name: shape},
//                                          "dtype": {name: str}}
//   load_params(bytes)                  weights.bin of the same tensor table
//   share_params(module)                a module made by the same library
//   get_num_threads() -> int
//
// One thread at a time may use a module. The image that holds this function is never unloaded once
// a module was made: tensors and modules may outlive the caller's handle of the library.
int CreateGraphExecutorModule(const ModelDefinition& model, const TVMFFIAny* args, int32_t num_args,
                              TVMFFIAny* result) noexcept;

}  // namespace tvmake

#endif  // TVMAKE_GRAPH_EXECUTOR_MODULE_H_
