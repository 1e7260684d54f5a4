#include "tvmake/c_api.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <string_view>
#include <vector>

namespace tvmake::c_api {
namespace {

constexpr tvmake_status ToStatus(ErrorKind kind) {
  return static_cast<tvmake_status>(TVMAKE_INVALID_ARGUMENT + static_cast<int>(kind));
}
static_assert(ToStatus(ErrorKind::kInvalidArgument) == TVMAKE_INVALID_ARGUMENT);
static_assert(ToStatus(ErrorKind::kShape) == TVMAKE_SHAPE);
static_assert(ToStatus(ErrorKind::kDType) == TVMAKE_DTYPE);
static_assert(ToStatus(ErrorKind::kDevice) == TVMAKE_DEVICE);
static_assert(ToStatus(ErrorKind::kIndex) == TVMAKE_INDEX);
static_assert(ToStatus(ErrorKind::kWeights) == TVMAKE_WEIGHTS);
static_assert(ToStatus(ErrorKind::kGraph) == TVMAKE_GRAPH);
static_assert(ToStatus(ErrorKind::kCpu) == TVMAKE_CPU);
static_assert(ToStatus(ErrorKind::kKernel) == TVMAKE_KERNEL);
static_assert(ToStatus(ErrorKind::kMemory) == TVMAKE_MEMORY);
static_assert(ToStatus(ErrorKind::kIo) == TVMAKE_IO);

// Calls `body`; what it throws becomes a status and a text.
template <typename Body>
tvmake_status Guard(ErrorText error, Body body) noexcept {
  try {
    body();
    return TVMAKE_OK;
  } catch (const Error& failure) {
    return Fail(error, ToStatus(failure.kind()), failure.what());
  } catch (const std::bad_alloc&) {
    return Fail(error, TVMAKE_MEMORY, "out of memory");
  } catch (const std::exception& failure) {
    return Fail(error, TVMAKE_INTERNAL, failure.what());
  } catch (...) {
    return Fail(error, TVMAKE_INTERNAL, "unknown exception");
  }
}

// The same on an open model's executor.
template <typename Body>
tvmake_status Guard(Handle* handle, Body body) noexcept {
  if (handle == nullptr) return TVMAKE_INVALID_ARGUMENT;
  return Guard(ErrorText{handle->last_error.data(), handle->last_error.size()},
               [&] { body(*handle->executor); });
}

void Require(bool condition, const char* message) {
  if (!condition) throw Error(ErrorKind::kInvalidArgument, message);
}

Options ToOptions(const tvmake_options* options) {
  if (options == nullptr) return {};
  Require(options->struct_bytes == sizeof(tvmake_options),
          "options.struct_bytes is not sizeof(tvmake_options): start from TVMAKE_OPTIONS_INIT, and "
          "compile with the headers that belong to this model");
  Require(options->num_threads >= 0, "options.num_threads is negative");
  return {.num_threads = options->num_threads,
          .weights_path = options->weights_path == nullptr ? "" : options->weights_path};
}

size_t Bytes(const DLTensor& tensor) {
  size_t elements = 1;
  for (int32_t axis = 0; axis < tensor.ndim; ++axis) {
    elements *= static_cast<size_t>(tensor.shape[axis]);
  }
  return (elements * tensor.dtype.bits * tensor.dtype.lanes + 7) / 8;
}

void* Data(const DLTensor& tensor) {
  return static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
}

tvmake_tensor_view ToView(const DLTensor& tensor) {
  return {.data = Data(tensor),
          .dtype = {tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes},
          .rank = tensor.ndim,
          .shape = tensor.shape,
          .bytes = Bytes(tensor)};
}

}  // namespace

tvmake_status Fail(ErrorText error, tvmake_status status, const char* message) noexcept {
  if (error.data != nullptr && error.bytes > 0) {
    const size_t length = std::min(std::strlen(message), error.bytes - 1);
    std::memcpy(error.data, message, length);
    error.data[length] = '\0';
  }
  return status;
}

tvmake_status Open(Handle& handle, const ModelDefinition& model, const tvmake_options* options,
                   ErrorText error) noexcept {
  return Guard(error, [&] { handle.executor = Executor::Create(model, ToOptions(options)); });
}

tvmake_status OpenShared(Handle& handle, const Handle* source, const tvmake_options* options,
                         ErrorText error) noexcept {
  return Guard(error, [&] {
    Require(source != nullptr, "source is NULL");
    handle.executor = source->executor->Clone(ToOptions(options));
  });
}

tvmake_status SetInputShape(Handle* handle, size_t index, const int64_t* shape,
                            size_t rank) noexcept {
  return Guard(handle, [=](Executor& executor) {
    Require(shape != nullptr || rank == 0, "shape is NULL");
    executor.SetInputShape(index, {shape, rank});
  });
}

tvmake_status InputView(Handle* handle, size_t index, tvmake_tensor_view* view) noexcept {
  return Guard(handle, [=](Executor& executor) {
    Require(view != nullptr, "view is NULL");
    *view = ToView(executor.GetInput(index));
  });
}

tvmake_status OutputView(Handle* handle, size_t index, tvmake_tensor_view* view) noexcept {
  return Guard(handle, [=](Executor& executor) {
    Require(view != nullptr, "view is NULL");
    *view = ToView(executor.GetOutput(index));
  });
}

tvmake_status SetInput(Handle* handle, size_t index, const void* data, size_t bytes) noexcept {
  return Guard(handle, [=](Executor& executor) { executor.SetInput(index, data, bytes); });
}

tvmake_status SetInputZeroCopy(Handle* handle, size_t index, const void* data,
                               size_t bytes) noexcept {
  return Guard(handle, [=](Executor& executor) { executor.SetInputZeroCopy(index, data, bytes); });
}

tvmake_status SetOutputZeroCopy(Handle* handle, size_t index, void* data, size_t bytes) noexcept {
  return Guard(handle, [=](Executor& executor) { executor.SetOutputZeroCopy(index, data, bytes); });
}

tvmake_status UnbindInput(Handle* handle, size_t index) noexcept {
  return Guard(handle, [=](Executor& executor) { executor.UnbindInput(index); });
}

tvmake_status UnbindOutput(Handle* handle, size_t index) noexcept {
  return Guard(handle, [=](Executor& executor) { executor.UnbindOutput(index); });
}

void* InputData(Handle* handle, size_t index) noexcept {
  void* data = nullptr;
  Guard(handle, [&](Executor& executor) { data = Data(executor.GetInput(index)); });
  return data;
}

const void* OutputData(Handle* handle, size_t index) noexcept {
  const void* data = nullptr;
  Guard(handle, [&](Executor& executor) { data = Data(executor.GetOutput(index)); });
  return data;
}

tvmake_status Run(Handle* handle) noexcept {
  return Guard(handle, [](Executor& executor) { executor.Run(); });
}

tvmake_status RunObserved(Handle* handle, tvmake_observer observer, void* user) noexcept {
  return Guard(handle, [=](Executor& executor) {
    Require(observer != nullptr, "observer is NULL");
    std::vector<tvmake_tensor_view> outputs;
    executor.Run([&](const Executor::CallView& call) {
      outputs.clear();
      for (const DLTensor& tensor : call.outputs) outputs.push_back(ToView(tensor));
      const tvmake_call_view view = {.index = call.index,
                                     .name = call.name,
                                     .nanoseconds = call.nanoseconds,
                                     .output_count = outputs.size(),
                                     .outputs = outputs.data()};
      observer(&view, user);
    });
  });
}

tvmake_status GetOutput(Handle* handle, size_t index, void* data, size_t bytes) noexcept {
  return Guard(handle, [=](Executor& executor) { executor.CopyOutput(index, data, bytes); });
}

tvmake_status LoadParams(Handle* handle, const void* blob, size_t bytes) noexcept {
  return Guard(handle, [=](Executor& executor) {
    Require(blob != nullptr, "blob is NULL");
    executor.LoadParams({static_cast<const std::byte*>(blob), bytes});
  });
}

tvmake_status ShareParams(Handle* handle, const Handle* other) noexcept {
  return Guard(handle, [=](Executor& executor) {
    Require(other != nullptr, "other is NULL");
    executor.ShareParams(*other->executor);
  });
}

const char* LastError(const Handle* handle) noexcept {
  return handle == nullptr ? "model is NULL" : handle->last_error.data();
}

int32_t NumThreads(const Handle* handle) noexcept {
  return handle == nullptr ? 0 : handle->executor->num_threads();
}

size_t ArenaBytes(const Handle* handle) noexcept {
  return handle == nullptr ? 0 : handle->executor->arena_bytes();
}

size_t WeightsBytes(const Handle* handle) noexcept {
  return handle == nullptr ? 0 : handle->executor->weights_bytes();
}

int IndexOf(std::span<const tvmake_tensor_info> tensors, const char* name) noexcept {
  if (name == nullptr) return -1;
  const auto found = std::ranges::find_if(tensors, [=](const tvmake_tensor_info& tensor) {
    return std::string_view(tensor.name) == name;
  });
  return found == tensors.end() ? -1 : static_cast<int>(found - tensors.begin());
}

}  // namespace tvmake::c_api
