// Opens compiled models in a process that has tvm-ffi: the executor, fed with files in place of
// what a model library has built in. Python's `tvmake.backend` uses it, so that a model runs
// seconds after it was compiled, without a C++ compiler at work on its sources.
#include <dlfcn.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/string.h>
#include <tvm/runtime/c_backend_api.h>

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "tvmake/c_api.h"
#include "tvmake/executor.h"
#include "tvmake/graph_executor_module.h"

namespace {

namespace ffi = tvm::ffi;

using Strings = ffi::Array<ffi::String>;

// What a ModelDefinition points to.
struct Model {
  std::string name;
  std::string graph;
  std::string triple;
  std::string cpu;
  std::deque<std::string> texts;
  std::vector<tvmake::Kernel> kernels;
  std::vector<const char*> features;
  tvmake::ModelDefinition definition;
};

[[noreturn]] void Fail(const std::string& what) { throw ffi::Error("RuntimeError", what, ""); }

void* OpenKernels(const std::string& path) {
  // Never closed: executors and the tensors that view their memory may outlive every handle.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) Fail(dlerror());
  return library;
}

void BindBackend(void* library) {
  const auto bind = [library](const char* name, auto* function) {
    if (void* variable = dlsym(library, name)) {
      tvmake::c_api::BindBackend(*static_cast<void**>(variable), function);
    }
  };
  bind("__TVMBackendParallelLaunch", &TVMBackendParallelLaunch);
  bind("__TVMBackendAllocWorkspace", &TVMBackendAllocWorkspace);
  bind("__TVMBackendFreeWorkspace", &TVMBackendFreeWorkspace);
  bind("__TVMFFIErrorSetRaisedFromCStr", &TVMFFIErrorSetRaisedFromCStr);
}

void FindKernels(Model& model, void* library, const Strings& names, const Strings& symbols) {
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string symbol = symbols[i];
    void* function = dlsym(library, symbol.c_str());
    if (function == nullptr) Fail("the library of kernels has no " + symbol);
    model.kernels.push_back({model.texts.emplace_back(names[i]).c_str(),
                             reinterpret_cast<TVMFFISafeCallType>(function)});
  }
}

// Kept for the life of the process, as the library of a model is.
Model& KeepForever(std::unique_ptr<Model> model) {
  static std::mutex mutex;
  static auto* const models = new std::vector<std::unique_ptr<Model>>();
  const std::lock_guard lock(mutex);
  return *models->emplace_back(std::move(model));
}

// A model from its parts: the executor's module, see tvmake/graph_executor_module.h.
//
//   library          shared library that was linked of kernels.o
//   weights          path of weights.bin
//   names, symbols   the kernels, as graph.json and as the library call them
//   features         CPU features that the kernels need
ffi::Any Open(ffi::String name, ffi::String graph, ffi::String library, ffi::String weights,
              Strings names, Strings symbols, Strings features, int num_threads) {
  auto owned = std::make_unique<Model>();
  owned->name = name;
  owned->graph = graph;
  void* const handle = OpenKernels(library);
  FindKernels(*owned, handle, names, symbols);
  BindBackend(handle);
  for (const ffi::String& feature : features) {
    owned->features.push_back(owned->texts.emplace_back(feature).c_str());
  }
  Model& model = KeepForever(std::move(owned));
  model.definition = {
      .name = model.name.c_str(),
      .graph_json = model.graph,
      .weights_file = "weights.bin",
      .kernels = model.kernels,
      .required_cpu_features = model.features,
      .bind_backend = [] {},
  };
  const ffi::AnyView arguments[] = {ffi::AnyView(DLDevice{kDLCPU, 0}), ffi::AnyView(weights),
                                    ffi::AnyView(num_threads)};
  ffi::Any result;
  TVM_FFI_CHECK_SAFE_CALL(tvmake::CreateGraphExecutorModule(
      model.definition, reinterpret_cast<const TVMFFIAny*>(arguments), 3,
      reinterpret_cast<TVMFFIAny*>(&result)));
  return result;
}

}  // namespace

TVM_FFI_DLL_EXPORT_TYPED_FUNC(open, Open);
