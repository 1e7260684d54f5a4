#include "tvmake/graph_executor_module.h"

#include <dlfcn.h>
#include <tvm/ffi/cast.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/container/shape.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/optional.h>
#include <tvm/ffi/string.h>

#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "aligned_buffer.h"
#include "dtype.h"
#include "text.h"

namespace tvmake {
namespace {

namespace ffi = tvm::ffi;

// Its address identifies modules of this image: only those may be cast to our type.
constexpr char kKind[] = "tvmake.GraphExecutor";

// The Python exception that users of tvm-ffi get to see.
const char* FfiErrorKind(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
    case ErrorKind::kShape:
    case ErrorKind::kDevice:
      return "ValueError";
    case ErrorKind::kDType:
      return "TypeError";
    case ErrorKind::kIndex:
      return "IndexError";
    case ErrorKind::kMemory:
      return "MemoryError";
    case ErrorKind::kIo:
      return "OSError";
    default:
      return "RuntimeError";
  }
}

template <typename Body>
auto WithFfiErrors(Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    throw ffi::Error(FfiErrorKind(error.kind()), error.what(), "");
  }
}

// Tensors and modules may outlive the handle that the caller has of the library, and their
// destructors are in it: it stays loaded.
void PinImage(const void* address) {
  Dl_info info;
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return;
  // Fails for the program itself, which is never unloaded anyway.
  dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

// Memory of an ffi::Tensor that the executor, or a tensor bound to it, owns.
struct ViewAllocator {
  std::shared_ptr<Executor> executor;
  ffi::Optional<ffi::Tensor> bound;
  void* data;

  void AllocData(DLTensor* tensor) { tensor->data = data; }
  void FreeData(DLTensor*) {}
};

// Memory of its own, with a copy of what is at `source`.
struct CopyAllocator {
  const void* source;

  void AllocData(DLTensor* tensor) {
    size_t bytes = (size_t{tensor->dtype.bits} * tensor->dtype.lanes + 7) / 8;
    for (int32_t axis = 0; axis < tensor->ndim; ++axis) {
      bytes *= static_cast<size_t>(tensor->shape[axis]);
    }
    tensor->data = ::operator new(bytes, std::align_val_t(kCopyAlignment));
    if (bytes != 0) std::memcpy(tensor->data, source, bytes);
  }
  void FreeData(DLTensor* tensor) {
    ::operator delete(tensor->data, std::align_val_t(kCopyAlignment));
  }
};

class GraphExecutorModule final : public ffi::ModuleObj {
 public:
  explicit GraphExecutorModule(std::unique_ptr<Executor> executor)
      : executor_(std::move(executor)),
        bound_inputs_(executor_->num_inputs()),
        bound_outputs_(executor_->num_outputs()) {}

  const char* kind() const final { return kKind; }
  int GetPropertyMask() const final { return ffi::Module::kRunnable; }
  ffi::Optional<ffi::Function> GetFunction(const ffi::String& name) final;

 private:
  using Self = GraphExecutorModule;
  using Method = void (Self::*)(ffi::PackedArgs, ffi::Any*);
  using Bindings = std::vector<ffi::Optional<ffi::Tensor>>;
  struct Entry {
    std::string_view name;
    Method method;
    int min_args;
    int max_args;
  };
  static const Entry kEntries[];

  void SetInput(ffi::PackedArgs args, ffi::Any*) {
    const size_t index = InputIndex(args[0]);
    executor_->SetInput(index, TensorArg(args[1], executor_->input_info(index)));
    bound_inputs_[index] = std::nullopt;
  }
  void SetInputZeroCopy(ffi::PackedArgs args, ffi::Any*) {
    const size_t index = InputIndex(args[0]);
    ffi::Tensor tensor = OwnedTensor(args[1], executor_->input_info(index));
    executor_->SetInputZeroCopy(index, tensor.GetDLTensorPtr());
    bound_inputs_[index] = std::move(tensor);
  }
  void SetOutputZeroCopy(ffi::PackedArgs args, ffi::Any*) {
    const size_t index = OutputIndex(args[0]);
    ffi::Tensor tensor = OwnedTensor(args[1], executor_->output_info(index));
    executor_->SetOutputZeroCopy(index, tensor.GetDLTensorPtr());
    bound_outputs_[index] = std::move(tensor);
  }
  void Run(ffi::PackedArgs, ffi::Any*) { executor_->Run(); }
  void GetInput(ffi::PackedArgs args, ffi::Any* result) {
    const size_t index = InputIndex(args[0]);
    *result =
        ViewOf(executor_->GetInput(index), executor_->input_info(index), bound_inputs_[index]);
  }
  void GetOutput(ffi::PackedArgs args, ffi::Any* result) {
    const size_t index = OutputIndex(args[0]);
    if (args.size() == 1) {
      *result =
          ViewOf(executor_->GetOutput(index), executor_->output_info(index), bound_outputs_[index]);
    } else {
      executor_->CopyOutput(index, TensorArg(args[1], executor_->output_info(index)));
    }
  }
  void GetNumInputs(ffi::PackedArgs, ffi::Any* result) {
    *result = static_cast<int64_t>(executor_->num_inputs());
  }
  void GetNumOutputs(ffi::PackedArgs, ffi::Any* result) {
    *result = static_cast<int64_t>(executor_->num_outputs());
  }
  void GetInputIndex(ffi::PackedArgs args, ffi::Any* result) {
    *result = executor_->input_index(std::string(args[0].cast<ffi::String>()));
  }
  void GetOutputIndex(ffi::PackedArgs args, ffi::Any* result) {
    *result = executor_->output_index(std::string(args[0].cast<ffi::String>()));
  }
  void GetInputInfo(ffi::PackedArgs, ffi::Any* result) {
    *result = Info(executor_->num_inputs(), &Executor::input_info);
  }
  void GetOutputInfo(ffi::PackedArgs, ffi::Any* result) {
    *result = Info(executor_->num_outputs(), &Executor::output_info);
  }
  void LoadParams(ffi::PackedArgs args, ffi::Any*) {
    const auto bytes = args[0].cast<ffi::Bytes>();
    executor_->LoadParams(std::as_bytes(std::span(bytes.data(), bytes.size())));
  }
  void ShareParams(ffi::PackedArgs args, ffi::Any*);
  void GetNumThreads(ffi::PackedArgs, ffi::Any* result) { *result = executor_->num_threads(); }

  size_t InputIndex(ffi::AnyView key) const {
    return Index(key, "input", executor_->num_inputs(), &Executor::input_index);
  }
  size_t OutputIndex(ffi::AnyView key) const {
    return Index(key, "output", executor_->num_outputs(), &Executor::output_index);
  }
  size_t Index(ffi::AnyView key, const char* role, size_t count,
               int (Executor::*find)(std::string_view) const) const;
  const DLTensor& TensorArg(ffi::AnyView value, const TensorInfo& expected) const;
  ffi::Tensor OwnedTensor(ffi::AnyView value, const TensorInfo& expected) const;
  ffi::Tensor ViewOf(const DLTensor& tensor, const TensorInfo& info,
                     ffi::Optional<ffi::Tensor> bound) const;
  ffi::Map<ffi::String, ffi::Any> Info(size_t count,
                                       const TensorInfo& (Executor::*info)(size_t) const) const;

  const std::shared_ptr<Executor> executor_;  // shared with the tensors that view its memory
  Bindings bound_inputs_;                     // kept alive while they are bound
  Bindings bound_outputs_;
};

const GraphExecutorModule::Entry GraphExecutorModule::kEntries[] = {
    {"set_input", &Self::SetInput, 2, 2},
    {"set_input_zero_copy", &Self::SetInputZeroCopy, 2, 2},
    {"set_output_zero_copy", &Self::SetOutputZeroCopy, 2, 2},
    {"run", &Self::Run, 0, 0},
    {"get_input", &Self::GetInput, 1, 1},
    {"get_output", &Self::GetOutput, 1, 2},
    {"get_num_inputs", &Self::GetNumInputs, 0, 0},
    {"get_num_outputs", &Self::GetNumOutputs, 0, 0},
    {"get_input_index", &Self::GetInputIndex, 1, 1},
    {"get_output_index", &Self::GetOutputIndex, 1, 1},
    {"get_input_info", &Self::GetInputInfo, 0, 0},
    {"get_output_info", &Self::GetOutputInfo, 0, 0},
    {"load_params", &Self::LoadParams, 1, 1},
    {"share_params", &Self::ShareParams, 1, 1},
    {"get_num_threads", &Self::GetNumThreads, 0, 0},
};

ffi::Optional<ffi::Function> GraphExecutorModule::GetFunction(const ffi::String& name) {
  for (const Entry& entry : kEntries) {
    if (entry.name != std::string_view(name.data(), name.size())) continue;
    auto keep_alive = ffi::GetRef<ffi::Module>(this);
    return ffi::Function::FromPacked([this, keep_alive, &entry](ffi::PackedArgs args,
                                                                ffi::Any* result) {
      if (args.size() < entry.min_args || args.size() > entry.max_args) {
        const std::string most = entry.max_args > entry.min_args ? Cat(" to ", entry.max_args) : "";
        throw ffi::Error(
            "TypeError",
            Cat(entry.name, " got ", args.size(), " arguments, expected ", entry.min_args, most),
            "");
      }
      WithFfiErrors([&] { (this->*entry.method)(args, result); });
    });
  }
  return std::nullopt;
}

void GraphExecutorModule::ShareParams(ffi::PackedArgs args, ffi::Any*) {
  const auto other = args[0].cast<ffi::Module>();
  if (other->kind() != kKind) {
    throw Error(ErrorKind::kInvalidArgument,
                Cat("share_params got a module of kind ", Quoted(other->kind()),
                    ", expected one that this library made"));
  }
  executor_->ShareParams(*static_cast<const Self*>(other.get())->executor_);
}

size_t GraphExecutorModule::Index(ffi::AnyView key, const char* role, size_t count,
                                  int (Executor::*find)(std::string_view) const) const {
  int64_t index = -1;
  std::string text;
  if (const auto name = key.try_cast<ffi::String>()) {
    text = Quoted(std::string_view(name->data(), name->size()));
    index = ((*executor_).*find)(std::string_view(name->data(), name->size()));
  } else {
    index = key.cast<int64_t>();
    text = std::to_string(index);
  }
  if (index < 0 || static_cast<uint64_t>(index) >= count) {
    throw Error(ErrorKind::kIndex, Cat("model ", Quoted(executor_->model().name), " has no ", role,
                                       " ", text, ", it has ", count));
  }
  return static_cast<size_t>(index);
}

const DLTensor& GraphExecutorModule::TensorArg(ffi::AnyView value,
                                               const TensorInfo& expected) const {
  if (const auto tensor = value.try_cast<DLTensor*>(); tensor && *tensor != nullptr)
    return **tensor;
  throw Error(ErrorKind::kDType,
              Cat("model ", Quoted(executor_->model().name), ": ", Quoted(expected.name), ": got ",
                  value.GetTypeKey(), ", expected a tensor of ", DTypeText(expected.dtype),
                  ShapeText(expected.shape)));
}

ffi::Tensor GraphExecutorModule::OwnedTensor(ffi::AnyView value, const TensorInfo& expected) const {
  if (auto tensor = value.try_cast<ffi::Tensor>(); tensor && tensor->defined()) {
    return *std::move(tensor);
  }
  TensorArg(value, expected);
  throw Error(ErrorKind::kInvalidArgument,
              Cat("model ", Quoted(executor_->model().name), ": ", Quoted(expected.name),
                  ": zero copy expects a tvm_ffi.Tensor, which is kept alive while it is bound; "
                  "make one with tvm_ffi.from_dlpack"));
}

ffi::Tensor GraphExecutorModule::ViewOf(const DLTensor& tensor, const TensorInfo& info,
                                        ffi::Optional<ffi::Tensor> bound) const {
  const ffi::ShapeView shape(tensor.shape, static_cast<size_t>(tensor.ndim));
  if (info.is_dynamic && info.bytes == 0 && !bound.has_value()) {
    // Its memory may move in the next run, which would pull it away under a view.
    return ffi::Tensor::FromNDAlloc(CopyAllocator{tensor.data}, shape, tensor.dtype, tensor.device);
  }
  return ffi::Tensor::FromNDAlloc(ViewAllocator{executor_, std::move(bound), tensor.data},
                                  ffi::ShapeView(tensor.shape, static_cast<size_t>(tensor.ndim)),
                                  tensor.dtype, tensor.device);
}

ffi::Map<ffi::String, ffi::Any> GraphExecutorModule::Info(
    size_t count, const TensorInfo& (Executor::*info)(size_t) const) const {
  ffi::Array<ffi::String> names;
  ffi::Map<ffi::String, ffi::Shape> shapes;
  ffi::Map<ffi::String, ffi::String> dtypes;
  for (size_t i = 0; i < count; ++i) {
    const TensorInfo& tensor = ((*executor_).*info)(i);
    const ffi::String name(tensor.name.data(), tensor.name.size());
    names.push_back(name);
    shapes.Set(name, ffi::Shape(tensor.shape.begin(), tensor.shape.end()));
    dtypes.Set(name, DTypeText(tensor.dtype));
  }
  return {{"names", names}, {"shape", shapes}, {"dtype", dtypes}};
}

ffi::Module CreateModule(const ModelDefinition& model, ffi::PackedArgs args) {
  if (args.size() < 1 || args.size() > 3) {
    throw Error(ErrorKind::kInvalidArgument,
                Cat("default got ", args.size(),
                    " arguments, expected device [, weights path [, number of threads]]"));
  }
  const auto device = args[0].cast<DLDevice>();
  if (device.device_type != kDLCPU) {
    throw Error(ErrorKind::kDevice,
                Cat("model ", Quoted(model.name), ": got device type ",
                    static_cast<int>(device.device_type), ", it was compiled for 1 (CPU)"));
  }
  Options options;
  if (args.size() > 1) options.weights_path = args[1].cast<ffi::String>();
  if (args.size() > 2) options.num_threads = args[2].cast<int>();
  auto module = ffi::make_object<GraphExecutorModule>(Executor::Create(model, options));
  PinImage(&model);
  return ffi::Module(std::move(module));
}

}  // namespace

int CreateGraphExecutorModule(const ModelDefinition& model, const TVMFFIAny* args, int32_t num_args,
                              TVMFFIAny* result) noexcept {
  TVM_FFI_SAFE_CALL_BEGIN();
  const ffi::PackedArgs packed(reinterpret_cast<const ffi::AnyView*>(args), num_args);
  *reinterpret_cast<ffi::Any*>(result) = WithFfiErrors([&] { return CreateModule(model, packed); });
  TVM_FFI_SAFE_CALL_END();
}

}  // namespace tvmake
