// The program around one model: runs it on files, measures, profiles, traces. See --help.
//
// It uses the model's C interface only, and needs no header of the runtime.
#ifndef TVMAKE_HARNESS_H_
#define TVMAKE_HARNESS_H_

#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "tvmake/model.h"

namespace tvmake::harness {

// One model's C functions, its handle's type erased.
struct ModelApi {
  const tvmake_model_info& info;
  const char* info_json;
  std::vector<tvmake_tensor_info> inputs;
  std::vector<tvmake_tensor_info> outputs;
  std::vector<tvmake_call_info> calls;

  tvmake_status (*create)(const tvmake_options* options, void** model, char* error, size_t bytes);
  void (*destroy)(void* model);
  tvmake_status (*set_input_shape)(void* model, size_t index, const int64_t* shape, size_t rank);
  tvmake_status (*input_view)(void* model, size_t index, tvmake_tensor_view* view);
  tvmake_status (*output_view)(void* model, size_t index, tvmake_tensor_view* view);
  tvmake_status (*set_input)(void* model, size_t index, const void* data, size_t bytes);
  tvmake_status (*run)(void* model);
  tvmake_status (*run_observed)(void* model, tvmake_observer observer, void* user);
  const void* (*output_data)(void* model, size_t index);
  const char* (*last_error)(const void* model);
  int32_t (*num_threads)(const void* model);
};

// The whole program. Returns the exit code: 0, 1 for an error, 2 for wrong usage.
int Main(int argc, char** argv, const ModelApi& model);

// The same for the model whose generated C++ header has this `Abi`.
template <typename Abi>
int Main(int argc, char** argv) {
  using Handle = typename Abi::Handle;
  const auto table = [](size_t count, auto* at) {
    std::vector<std::remove_cvref_t<decltype(*at(0))>> items;
    for (size_t index = 0; index < count; ++index) items.push_back(*at(index));
    return items;
  };
  const ModelApi model = {
      .info = *Abi::kInfo(),
      .info_json = Abi::kInfoJson(),
      .inputs = table(Abi::kInputCount(), Abi::kInputInfo),
      .outputs = table(Abi::kOutputCount(), Abi::kOutputInfo),
      .calls = table(Abi::kCallCount(), Abi::kCallInfo),
      .create =
          [](const tvmake_options* options, void** model, char* error, size_t bytes) {
            Handle* handle = nullptr;
            const tvmake_status status = Abi::kCreate(options, &handle, error, bytes);
            *model = handle;
            return status;
          },
      .destroy = [](void* model) { Abi::kDestroy(static_cast<Handle*>(model)); },
      .set_input_shape =
          [](void* model, size_t index, const int64_t* shape, size_t rank) {
            return Abi::kSetInputShape(static_cast<Handle*>(model), index, shape, rank);
          },
      .input_view =
          [](void* model, size_t index, tvmake_tensor_view* view) {
            return Abi::kInputView(static_cast<Handle*>(model), index, view);
          },
      .output_view =
          [](void* model, size_t index, tvmake_tensor_view* view) {
            return Abi::kOutputView(static_cast<Handle*>(model), index, view);
          },
      .set_input =
          [](void* model, size_t index, const void* data, size_t bytes) {
            return Abi::kSetInput(static_cast<Handle*>(model), index, data, bytes);
          },
      .run = [](void* model) { return Abi::kRun(static_cast<Handle*>(model)); },
      .run_observed =
          [](void* model, tvmake_observer observer, void* user) {
            return Abi::kRunObserved(static_cast<Handle*>(model), observer, user);
          },
      .output_data =
          [](void* model, size_t index) {
            return Abi::kOutputData(static_cast<Handle*>(model), index);
          },
      .last_error =
          [](const void* model) { return Abi::kLastError(static_cast<const Handle*>(model)); },
      .num_threads =
          [](const void* model) { return Abi::kNumThreads(static_cast<const Handle*>(model)); },
  };
  return Main(argc, argv, model);
}

}  // namespace tvmake::harness

#endif  // TVMAKE_HARNESS_H_
