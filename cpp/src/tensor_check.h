// Checks of what callers give for an input or output.
#ifndef TVMAKE_TENSOR_CHECK_H_
#define TVMAKE_TENSOR_CHECK_H_

#include <tvm/ffi/c_api.h>

#include <cstddef>

#include "executor_impl.h"

namespace tvmake {

// Each throws an Error that names the tensor, what was expected, what was given and the fix.
// CheckTensor: not null, on the CPU, of the right dtype and shape, compact.
void CheckTensor(const ModelDefinition& model, const Port& port, const DLTensor* tensor);
// CheckBuffer: not null, and of the size that is expected.
void CheckBuffer(const ModelDefinition& model, const Port& port, const void* data, size_t bytes,
                 size_t expected);
void CheckAlignment(const ModelDefinition& model, const Port& port, const void* data,
                    size_t alignment);

// Where the elements begin.
inline void* TensorData(const DLTensor& tensor) {
  return tensor.data == nullptr ? nullptr
                                : static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
}

}  // namespace tvmake

#endif  // TVMAKE_TENSOR_CHECK_H_
