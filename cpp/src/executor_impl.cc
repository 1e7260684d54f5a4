#include "executor_impl.h"

#include <utility>

#include "dtype.h"

namespace tvmake {
namespace {

constexpr int kMaxThreads = 1024;

int CheckNumThreads(int num_threads) {
  if (num_threads < 0 || num_threads > kMaxThreads) {
    throw Error(ErrorKind::kInvalidArgument,
                Cat("num_threads is ", num_threads, ", expected 0 (default) to ", kMaxThreads));
  }
  return num_threads == 0 ? DefaultNumThreads() : num_threads;
}

// Takes the error that a kernel raised on this thread.
std::string TakeRaisedMessage() {
  TVMFFIObjectHandle error = nullptr;
  TVMFFIErrorMoveFromRaised(&error);
  if (error == nullptr) return "no message";
  const TVMFFIErrorCell* cell = TVMFFIErrorGetCellPtr(error);
  std::string text = Cat(std::string_view(cell->kind.data, cell->kind.size), ": ",
                         std::string_view(cell->message.data, cell->message.size));
  TVMFFIObjectDecRef(error);
  return text;
}

Port& At(std::vector<Port>& ports, size_t index, const ModelDefinition& model, const char* role) {
  if (index < ports.size()) return ports[index];
  throw Error(ErrorKind::kIndex, Cat("model ", Quoted(model.name), ": ", role, " ", index,
                                     " does not exist, there are ", ports.size()));
}

}  // namespace

int FindPort(const std::vector<Port>& ports, std::string_view name) {
  for (size_t i = 0; i < ports.size(); ++i) {
    if (ports[i].info.name == name) return static_cast<int>(i);
  }
  return -1;
}

Executor::Impl::Impl(const ModelDefinition& model_in, std::shared_ptr<const Graph> graph_in,
                     std::shared_ptr<const Weights> weights_in, int num_threads_in)
    : model(model_in),
      graph(std::move(graph_in)),
      num_threads(CheckNumThreads(num_threads_in)),
      arena(graph->arena_bytes, graph->alignment) {
  PrepareTensors();
  PrepareCalls();
  PreparePorts("input", graph->inputs, &inputs);
  PreparePorts("output", graph->outputs, &outputs);
  UseWeights(std::move(weights_in));
  if (num_threads > 1 && model.bind_backend != nullptr) {
    pool = std::make_unique<ThreadPool>(num_threads);
  }
  // The first use of a thread-local variable of a loaded library may allocate: not in Run().
  const ThreadPool::Scope touch(nullptr);
}

void Executor::Impl::PrepareTensors() {
  tensors.reserve(graph->tensors.size());
  for (const GraphTensor& tensor : graph->tensors) {
    // Kernels take shapes as non-const, and do not write to them.
    auto* shape = const_cast<int64_t*>(graph->dims.data() + tensor.shape_begin);
    void* data = tensor.byte_offset < 0 ? nullptr : arena.data() + tensor.byte_offset;
    tensors.push_back({.data = data,
                       .device = {kDLCPU, 0},
                       .ndim = tensor.ndim,
                       .dtype = tensor.dtype,
                       .shape = shape,
                       .strides = nullptr,
                       .byte_offset = 0});
  }
}

void Executor::Impl::PrepareCalls() {
  args.reserve(graph->args.size());
  for (const int32_t tensor : graph->args) {
    TVMFFIAny arg{};
    arg.type_index = kTVMFFIDLTensorPtr;
    arg.v_ptr = &tensors[static_cast<size_t>(tensor)];
    args.push_back(arg);
  }
  calls.reserve(graph->calls.size());
  for (const GraphCall& call : graph->calls) {
    calls.push_back(
        {call.function, args.data() + call.args_begin, static_cast<int32_t>(call.num_args)});
  }
}

void Executor::Impl::PreparePorts(const char* role, const std::vector<GraphPort>& from,
                                  std::vector<Port>* to) {
  to->reserve(from.size());
  for (const GraphPort& port : from) {
    const auto tensor = static_cast<size_t>(port.tensor);
    to->push_back({.role = role,
                   .info = {port.name, graph->tensors[tensor].dtype, graph->Shape(port.tensor),
                            graph->tensors[tensor].bytes},
                   .tensor = port.tensor,
                   .arena_data = tensors[tensor].data});
  }
}

Port& Executor::Impl::Input(size_t index) { return At(inputs, index, model, "input"); }
Port& Executor::Impl::Output(size_t index) { return At(outputs, index, model, "output"); }

void Executor::Impl::SetData(int32_t root, void* data) {
  for (int32_t i = root; i >= 0; i = graph->tensors[static_cast<size_t>(i)].next_view) {
    tensors[static_cast<size_t>(i)].data = data;
  }
}

void Executor::Impl::Bind(const Port& port, void* data) {
  SetData(graph->tensors[static_cast<size_t>(port.tensor)].root, data);
}

void Executor::Impl::UseWeights(std::shared_ptr<const Weights> new_weights) {
  for (size_t i = 0; i < graph->params.size(); ++i) {
    SetData(graph->params[i].tensor, const_cast<std::byte*>(new_weights->data(i)));
  }
  weights = std::move(new_weights);
}

Executor::CallView Executor::Impl::ViewOf(const PreparedCall& call) const {
  const auto index = static_cast<size_t>(&call - calls.data());
  const GraphCall& described = graph->calls[index];
  return {index,
          described.name.c_str(),
          0,
          {tensors.data() + described.outputs_begin, described.num_outputs}};
}

void Executor::Impl::FailCall(const PreparedCall& call) const {
  const CallView view = ViewOf(call);
  Fail(ErrorKind::kKernel, "kernel call ", view.index, " ", Quoted(view.name),
       " failed: ", TakeRaisedMessage());
}

}  // namespace tvmake
