// What the generated C interface of a model (`digits_run` and so on) is made of.
//
// Exceptions end here: every function is noexcept and turns them into a status and a text.
#ifndef TVMAKE_C_API_H_
#define TVMAKE_C_API_H_

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <span>

#include "tvmake/executor.h"
#include "tvmake/model.h"

namespace tvmake::c_api {

// What a model says about itself. Static data.
struct Description {
  const tvmake_model_info* info;
  const char* info_json;
  std::span<const tvmake_tensor_info> inputs;
  std::span<const tvmake_tensor_info> outputs;
  std::span<const tvmake_call_info> calls;
};

// The state behind a model's opaque handle, which derives from it. Used by one thread at a time.
struct Handle {
  std::unique_ptr<Executor> executor;
  std::array<char, 1024> last_error{};
};

// Where a failing constructor writes its text, as a C string, cut to fit. May be null.
struct ErrorText {
  char* data;
  size_t bytes;
};

tvmake_status Fail(ErrorText error, tvmake_status status, const char* message) noexcept;
tvmake_status Open(Handle& handle, const ModelDefinition& model, const tvmake_options* options,
                   ErrorText error) noexcept;
tvmake_status OpenShared(Handle& handle, const Handle* source, const tvmake_options* options,
                         ErrorText error) noexcept;

tvmake_status SetInputShape(Handle* handle, size_t index, const int64_t* shape,
                            size_t rank) noexcept;
tvmake_status InputView(Handle* handle, size_t index, tvmake_tensor_view* view) noexcept;
tvmake_status OutputView(Handle* handle, size_t index, tvmake_tensor_view* view) noexcept;
tvmake_status SetInput(Handle* handle, size_t index, const void* data, size_t bytes) noexcept;
tvmake_status SetInputZeroCopy(Handle* handle, size_t index, const void* data,
                               size_t bytes) noexcept;
tvmake_status SetOutputZeroCopy(Handle* handle, size_t index, void* data, size_t bytes) noexcept;
tvmake_status UnbindInput(Handle* handle, size_t index) noexcept;
tvmake_status UnbindOutput(Handle* handle, size_t index) noexcept;
void* InputData(Handle* handle, size_t index) noexcept;
const void* OutputData(Handle* handle, size_t index) noexcept;
tvmake_status Run(Handle* handle) noexcept;
tvmake_status RunObserved(Handle* handle, tvmake_observer observer, void* user) noexcept;
tvmake_status GetOutput(Handle* handle, size_t index, void* data, size_t bytes) noexcept;
tvmake_status LoadParams(Handle* handle, const void* blob, size_t bytes) noexcept;
tvmake_status ShareParams(Handle* handle, const Handle* other) noexcept;
const char* LastError(const Handle* handle) noexcept;
int32_t NumThreads(const Handle* handle) noexcept;
size_t ArenaBytes(const Handle* handle) noexcept;
size_t WeightsBytes(const Handle* handle) noexcept;
int IndexOf(std::span<const tvmake_tensor_info> tensors, const char* name) noexcept;

// The element at `index`, or null.
template <typename T>
const T* At(std::span<const T> items, size_t index) noexcept {
  return index < items.size() ? &items[index] : nullptr;
}

// Makes a `Model`, which derives from Handle, opens it by `open(Handle&, ErrorText)`, and hands it
// to the caller.
template <typename Model, typename OpenFunction>
tvmake_status Create(Model** model, ErrorText error, OpenFunction open) noexcept {
  if (model == nullptr) return Fail(error, TVMAKE_INVALID_ARGUMENT, "model is NULL");
  *model = nullptr;
  std::unique_ptr<Model> created(new (std::nothrow) Model());
  if (created == nullptr) return Fail(error, TVMAKE_MEMORY, "out of memory");
  const tvmake_status status = open(*created, error);
  if (status == TVMAKE_OK) *model = created.release();
  return status;
}

// Points a kernel's `__TVMBackend…` variable to the runtime's function. Thread safe.
template <typename Function>
void BindBackend(void*& variable, Function* function) noexcept {
  __atomic_store_n(&variable, reinterpret_cast<void*>(function), __ATOMIC_RELAXED);
}

}  // namespace tvmake::c_api

// Defines the opaque type and every function that the generated `<name>.h` declares, over a
// ModelDefinition and a Description of static storage duration.
#define TVMAKE_DEFINE_C_API(name, definition, description)                                        \
  struct name##_model final : tvmake::c_api::Handle {};                                           \
  extern "C" {                                                                                    \
  tvmake_status name##_create(const tvmake_options* options, name##_model** model, char* error,   \
                              size_t error_bytes) {                                               \
    return tvmake::c_api::Create(model, {error, error_bytes}, [=](auto& handle, auto text) {      \
      return tvmake::c_api::Open(handle, definition, options, text);                              \
    });                                                                                           \
  }                                                                                               \
  tvmake_status name##_create_shared(const name##_model* source, const tvmake_options* options,   \
                                     name##_model** model, char* error, size_t error_bytes) {     \
    return tvmake::c_api::Create(model, {error, error_bytes}, [=](auto& handle, auto text) {      \
      return tvmake::c_api::OpenShared(handle, source, options, text);                            \
    });                                                                                           \
  }                                                                                               \
  void name##_destroy(name##_model* model) { delete model; }                                      \
  tvmake_status name##_set_input_shape(name##_model* model, size_t index, const int64_t* shape,   \
                                       size_t rank) {                                             \
    return tvmake::c_api::SetInputShape(model, index, shape, rank);                               \
  }                                                                                               \
  tvmake_status name##_input_view(name##_model* model, size_t index, tvmake_tensor_view* view) {  \
    return tvmake::c_api::InputView(model, index, view);                                          \
  }                                                                                               \
  tvmake_status name##_output_view(name##_model* model, size_t index, tvmake_tensor_view* view) { \
    return tvmake::c_api::OutputView(model, index, view);                                         \
  }                                                                                               \
  tvmake_status name##_set_input(name##_model* model, size_t index, const void* data,             \
                                 size_t bytes) {                                                  \
    return tvmake::c_api::SetInput(model, index, data, bytes);                                    \
  }                                                                                               \
  tvmake_status name##_set_input_zero_copy(name##_model* model, size_t index, const void* data,   \
                                           size_t bytes) {                                        \
    return tvmake::c_api::SetInputZeroCopy(model, index, data, bytes);                            \
  }                                                                                               \
  tvmake_status name##_set_output_zero_copy(name##_model* model, size_t index, void* data,        \
                                            size_t bytes) {                                       \
    return tvmake::c_api::SetOutputZeroCopy(model, index, data, bytes);                           \
  }                                                                                               \
  tvmake_status name##_unbind_input(name##_model* model, size_t index) {                          \
    return tvmake::c_api::UnbindInput(model, index);                                              \
  }                                                                                               \
  tvmake_status name##_unbind_output(name##_model* model, size_t index) {                         \
    return tvmake::c_api::UnbindOutput(model, index);                                             \
  }                                                                                               \
  void* name##_input_data(name##_model* model, size_t index) {                                    \
    return tvmake::c_api::InputData(model, index);                                                \
  }                                                                                               \
  const void* name##_output_data(name##_model* model, size_t index) {                             \
    return tvmake::c_api::OutputData(model, index);                                               \
  }                                                                                               \
  tvmake_status name##_run(name##_model* model) { return tvmake::c_api::Run(model); }             \
  tvmake_status name##_run_observed(name##_model* model, tvmake_observer observer, void* user) {  \
    return tvmake::c_api::RunObserved(model, observer, user);                                     \
  }                                                                                               \
  tvmake_status name##_get_output(name##_model* model, size_t index, void* data, size_t bytes) {  \
    return tvmake::c_api::GetOutput(model, index, data, bytes);                                   \
  }                                                                                               \
  tvmake_status name##_load_params(name##_model* model, const void* blob, size_t bytes) {         \
    return tvmake::c_api::LoadParams(model, blob, bytes);                                         \
  }                                                                                               \
  tvmake_status name##_share_params(name##_model* model, const name##_model* other) {             \
    return tvmake::c_api::ShareParams(model, other);                                              \
  }                                                                                               \
  const char* name##_last_error(const name##_model* model) {                                      \
    return tvmake::c_api::LastError(model);                                                       \
  }                                                                                               \
  int32_t name##_num_threads(const name##_model* model) {                                         \
    return tvmake::c_api::NumThreads(model);                                                      \
  }                                                                                               \
  size_t name##_arena_bytes(const name##_model* model) {                                          \
    return tvmake::c_api::ArenaBytes(model);                                                      \
  }                                                                                               \
  size_t name##_weights_bytes(const name##_model* model) {                                        \
    return tvmake::c_api::WeightsBytes(model);                                                    \
  }                                                                                               \
  size_t name##_input_count(void) { return description.inputs.size(); }                           \
  size_t name##_output_count(void) { return description.outputs.size(); }                         \
  size_t name##_call_count(void) { return description.calls.size(); }                             \
  const tvmake_tensor_info* name##_input_info(size_t index) {                                     \
    return tvmake::c_api::At(description.inputs, index);                                          \
  }                                                                                               \
  const tvmake_tensor_info* name##_output_info(size_t index) {                                    \
    return tvmake::c_api::At(description.outputs, index);                                         \
  }                                                                                               \
  const tvmake_call_info* name##_call_info(size_t index) {                                        \
    return tvmake::c_api::At(description.calls, index);                                           \
  }                                                                                               \
  int name##_input_index(const char* tensor) {                                                    \
    return tvmake::c_api::IndexOf(description.inputs, tensor);                                    \
  }                                                                                               \
  int name##_output_index(const char* tensor) {                                                   \
    return tvmake::c_api::IndexOf(description.outputs, tensor);                                   \
  }                                                                                               \
  const tvmake_model_info* name##_info(void) { return description.info; }                         \
  const char* name##_info_json(void) { return description.info_json; }                            \
  }                                                                                               \
  static_assert(true)

#endif  // TVMAKE_C_API_H_
