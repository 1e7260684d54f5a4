#include "tensor_check.h"

#include <algorithm>
#include <span>

#include "dtype.h"
#include "text.h"

namespace tvmake {
namespace {

template <typename... Parts>
[[noreturn]] void Fail(ErrorKind kind, const ModelDefinition& model, const Port& port,
                       const Parts&... parts) {
  throw Error(kind, Cat("model ", Quoted(model.name), ": ", port.role, " ", Quoted(port.info.name),
                        ": ", parts...));
}

// Row-major without gaps. The stride of an axis of extent 1 does not matter.
bool IsCompact(const DLTensor& tensor) {
  if (tensor.strides == nullptr ||
      std::ranges::count(tensor.shape, tensor.shape + tensor.ndim, 0)) {
    return true;
  }
  int64_t expected = 1;
  for (int32_t axis = tensor.ndim - 1; axis >= 0; --axis) {
    if (tensor.shape[axis] != 1 && tensor.strides[axis] != expected) return false;
    expected *= tensor.shape[axis];
  }
  return true;
}

}  // namespace

void CheckTensor(const ModelDefinition& model, const Port& port, const DLTensor* tensor) {
  if (tensor == nullptr) Fail(ErrorKind::kInvalidArgument, model, port, "the tensor is null");
  if (tensor->device.device_type != kDLCPU) {
    Fail(ErrorKind::kDevice, model, port, "got a tensor on device type ",
         static_cast<int>(tensor->device.device_type), ", expected 1 (CPU); copy it there first");
  }
  if (!SameDType(tensor->dtype, port.info.dtype)) {
    Fail(ErrorKind::kDType, model, port, "got ", DTypeText(tensor->dtype), ", expected ",
         DTypeText(port.info.dtype), "; convert the tensor");
  }
  const bool has_shape = tensor->ndim >= 0 && (tensor->ndim == 0 || tensor->shape != nullptr);
  if (!has_shape) Fail(ErrorKind::kInvalidArgument, model, port, "the tensor's shape is null");
  const std::span<const int64_t> shape(tensor->shape, static_cast<size_t>(tensor->ndim));
  if (port.info.is_dynamic) {
    if (shape.size() != port.info.shape.size()) {
      Fail(ErrorKind::kShape, model, port, "got shape ", ShapeText(shape), ", expected rank ",
           port.info.shape.size());
    }
  } else if (!std::equal(shape.begin(), shape.end(), port.info.shape.begin(),
                         port.info.shape.end())) {
    Fail(ErrorKind::kShape, model, port, "got shape ", ShapeText(shape), ", expected ",
         ShapeText(port.info.shape), "; reshape the tensor or compile the model for that shape");
  }
  if ((port.info.bytes != 0 || port.info.is_dynamic) && !IsCompact(*tensor)) {
    Fail(ErrorKind::kInvalidArgument, model, port, "got strides ",
         ShapeText({tensor->strides, shape.size()}),
         ", expected compact row-major order; make a contiguous copy");
  }
}

void CheckBuffer(const ModelDefinition& model, const Port& port, const void* data, size_t bytes,
                 size_t expected) {
  if (bytes != expected) {
    Fail(ErrorKind::kShape, model, port, "got ", bytes, " bytes, expected ", expected, " (",
         DTypeText(port.info.dtype), ShapeText(port.info.shape), ")",
         port.info.is_dynamic ? "; -1 stands for a dynamic extent: set the shape first" : "");
  }
  if (data == nullptr && bytes != 0) {
    Fail(ErrorKind::kInvalidArgument, model, port, "the data pointer is null");
  }
}

void CheckAlignment(const ModelDefinition& model, const Port& port, const void* data,
                    size_t alignment) {
  if (IsAligned(data, alignment)) return;
  Fail(ErrorKind::kInvalidArgument, model, port, "got data at an address that is ",
       reinterpret_cast<uintptr_t>(data) % alignment, " bytes past a multiple of ", alignment,
       ", expected a multiple; allocate it with std::aligned_alloc, or copy with ",
       port.role == std::string_view("input") ? "SetInput" : "CopyOutput");
}

}  // namespace tvmake
