// The generic face: the functions of the tvm-ffi module, called as any language would.
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/container/shape.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "check.h"
#include "model_builder.h"
#include "tvmake/graph_executor_module.h"

namespace tvmake::test {
namespace {

namespace ffi = tvm::ffi;

struct HeapAllocator {
  void AllocData(DLTensor* tensor) {
    tensor->data = std::aligned_alloc(64, (ffi::GetDataSize(*tensor) + 63) / 64 * 64);
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

ffi::Tensor NewTensor(std::vector<int64_t> shape, float first, DLDataType dtype = {2, 32, 1}) {
  ffi::Tensor tensor =
      ffi::Tensor::FromNDAlloc(HeapAllocator(), ffi::Shape(std::move(shape)), dtype, {kDLCPU, 0});
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    static_cast<float*>(tensor.data_ptr())[i] = first + static_cast<float>(i);
  }
  return tensor;
}

float At(const ffi::Tensor& tensor, int64_t i) {
  return static_cast<const float*>(tensor.data_ptr())[i];
}

// What languages pass that do not own the tensor.
DLTensor* Borrowed(const ffi::Tensor& tensor) {
  return const_cast<DLTensor*>(tensor.GetDLTensorPtr());
}

template <typename... Args>
ffi::Any CallFactory(const ModelDefinition& model, Args... args) {
  const ffi::AnyView packed[] = {args..., nullptr};
  ffi::Any result;
  const int status =
      CreateGraphExecutorModule(model, reinterpret_cast<const TVMFFIAny*>(packed), sizeof...(args),
                                reinterpret_cast<TVMFFIAny*>(&result));
  if (status != 0) throw ffi::details::MoveFromSafeCallRaised();
  return result;
}

template <typename... Args>
ffi::Module Create(const ModelDefinition& model, Args... args) {
  return CallFactory(model, DLDevice{kDLCPU, 0}, args...).template cast<ffi::Module>();
}

template <typename... Args>
ffi::Any Call(const ffi::Module& module, const char* name, Args... args) {
  const auto function = module->GetFunction(name);
  CHECK(function.has_value());
  return (*function)(args...);
}

template <typename Body>
void ExpectError(std::string_view kind, std::string_view part, Body&& body) {
  try {
    body();
  } catch (const ffi::Error& error) {
    if (error.kind() == kind && error.message().find(part) != std::string::npos) return;
    Fail(__FILE__, __LINE__,
         "expected " + std::string(kind) + " with '" + std::string(part) + "', got " +
             error.kind() + ": " + error.message());
  }
  Fail(__FILE__, __LINE__, "expected " + std::string(kind) + " with '" + std::string(part) + "'");
}

void TestRun(const ffi::Module& module) {
  Call(module, "set_input", "x", NewTensor({4, 4}, 1));
  Call(module, "run");
  const auto y = Call(module, "get_output", 0).cast<ffi::Tensor>();
  CHECK(At(y, 3) == 2 * (4 + 3) + 1);
  CHECK(y.shape().size() == 2 && y.shape()[1] == 4 && y.strides()[0] == 4);
  CHECK(At(Call(module, "get_input", 0).cast<ffi::Tensor>(), 2) == 3);
  const ffi::Tensor copy = NewTensor({4, 4}, 0);
  Call(module, "get_output", "y", copy);
  CHECK(At(copy, 3) == At(y, 3));
  Call(module, "set_input", 0, Borrowed(NewTensor({4, 4}, 0)));
  Call(module, "run");
  CHECK(At(y, 3) == 13 && At(copy, 3) == 15);  // a view sees the next run, a copy does not
}

void TestInfo(const ffi::Module& module) {
  CHECK(std::string_view(module->kind()) == "tvmake.GraphExecutor");
  CHECK(Call(module, "get_num_inputs").cast<int>() == 1);
  CHECK(Call(module, "get_num_outputs").cast<int>() == 1);
  CHECK(Call(module, "get_input_index", "x").cast<int>() == 0);
  CHECK(Call(module, "get_input_index", "z").cast<int>() == -1);
  CHECK(Call(module, "get_output_index", "y").cast<int>() == 0);
  CHECK(Call(module, "get_num_threads").cast<int>() == 1);
  const auto info = Call(module, "get_input_info").cast<ffi::Map<ffi::String, ffi::Any>>();
  CHECK(info["names"].cast<ffi::Array<ffi::String>>()[0] == "x");
  CHECK((info["dtype"].cast<ffi::Map<ffi::String, ffi::String>>()["x"] == "float32"));
  CHECK((info["shape"].cast<ffi::Map<ffi::String, ffi::Shape>>()["x"][1] == 4));
  CHECK(Call(module, "get_output_info").cast<ffi::Map<ffi::String, ffi::Any>>().size() == 3);
  CHECK(!module->GetFunction("no_such_function").has_value());
}

// Bound tensors and views keep what they need alive.
void TestLifetimes(const ModelDefinition& model) {
  ffi::Any view;
  ffi::Any bound_view;
  {
    const ffi::Module module = Create(model, "", 1);
    Call(module, "run");
    view = Call(module, "get_output", 0);
    Call(module, "set_input_zero_copy", 0, NewTensor({4, 4}, 100));
    Call(module, "set_output_zero_copy", 0, NewTensor({4, 4}, 0));
    Call(module, "run");
    bound_view = Call(module, "get_output", 0);
    Call(module, "set_output_zero_copy", 0, NewTensor({4, 4}, 0));
    Call(module, "run");
    Call(module, "set_input", 0, NewTensor({4, 4}, 0));
    Call(module, "run");
  }
  CHECK(At(view.cast<ffi::Tensor>(), 1) == 3);
  CHECK(At(bound_view.cast<ffi::Tensor>(), 1) == 2 * (101 + 1) + 1);
}

void TestParams(const ModelDefinition& model) {
  const ffi::Module a = Create(model);
  const ffi::Module b = Create(model);
  const std::vector<std::byte> good = SmallModel().WeightsBin();
  std::string blob(reinterpret_cast<const char*>(good.data()), good.size());
  blob.replace(128, 64, 64, '\0');
  Call(a, "load_params", ffi::Bytes(blob));
  Call(b, "share_params", a);
  Call(b, "set_input", 0, NewTensor({4, 4}, 0));
  Call(b, "run");
  CHECK(At(Call(b, "get_output", 0).cast<ffi::Tensor>(), 5) == 11);
  ExpectError("RuntimeError", "truncated",
              [&] { Call(a, "load_params", ffi::Bytes(blob.substr(0, 100))); });
  class Stranger : public ffi::ModuleObj {
   public:
    const char* kind() const final {
      return "tvmake.Graph"
             "Executor\0other";
    }
    ffi::Optional<ffi::Function> GetFunction(const ffi::String&) final { return std::nullopt; }
  };
  ExpectError("ValueError", "expected one that this library made",
              [&] { Call(b, "share_params", ffi::Module(ffi::make_object<Stranger>())); });
}

void TestErrors(const ModelDefinition& model, const ffi::Module& module) {
  ExpectError("ValueError", "got shape [2], expected [4, 4]",
              [&] { Call(module, "set_input", 0, NewTensor({2}, 0)); });
  ExpectError("TypeError", "got int32, expected float32",
              [&] { Call(module, "set_input", 0, NewTensor({4, 4}, 0, {0, 32, 1})); });
  ExpectError("IndexError", "has no input 'z', it has 1",
              [&] { Call(module, "set_input", "z", NewTensor({4, 4}, 0)); });
  ExpectError("IndexError", "has no output -1", [&] { Call(module, "get_output", -1); });
  ExpectError("TypeError", "set_input got 1 arguments, expected 2",
              [&] { Call(module, "set_input", 0); });
  for (const char* name : {"set_input", "set_input_zero_copy", "set_output_zero_copy"}) {
    ExpectError("TypeError", "got None, expected a tensor of float32[4, 4]",
                [&] { Call(module, name, 0, nullptr); });
  }
  ExpectError("ValueError", "zero copy expects a tvm_ffi.Tensor",
              [&] { Call(module, "set_input_zero_copy", 0, Borrowed(NewTensor({4, 4}, 0))); });
  ExpectError("ValueError", "got device type 2", [&] { CallFactory(model, DLDevice{kDLCUDA, 0}); });
  ExpectError("ValueError", "default got 0 arguments", [&] { CallFactory(model); });
  ExpectError("ValueError", "embedded", [&] { Create(model, "/some/file"); });
  ExpectError("ValueError", "num_threads is -3", [&] { Create(model, "", -3); });
}

}  // namespace
}  // namespace tvmake::test

int main() {
  using namespace tvmake::test;
  const TestModel model(SmallModel());
  const auto module = Create(model.definition, "", 1);
  TestRun(module);
  TestInfo(module);
  TestLifetimes(model.definition);
  TestParams(model.definition);
  TestErrors(model.definition, module);
}
