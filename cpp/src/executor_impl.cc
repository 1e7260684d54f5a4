#include "executor_impl.h"

#include <algorithm>
#include <chrono>
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
      arena(graph->arena_bytes, graph->alignment),
      dims(graph->dims) {
  PrepareTensors();
  PrepareCalls();
  if (graph->dynamic) {
    shapes = std::make_unique<DynamicShapes>(*graph, tensors, dims, args);
  }
  port_shapes.reserve(graph->inputs.size() + graph->outputs.size());
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
    int64_t* shape = dims.data() + tensor.shape_begin;
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
    if (tensor == kScalar) {
      arg.type_index = kTVMFFIInt;
    } else {
      arg.type_index = kTVMFFIDLTensorPtr;
      arg.v_ptr = &tensors[static_cast<size_t>(tensor)];
    }
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
    const std::span<const int64_t> largest = graph->Shape(port.tensor);
    TensorInfo info = {port.name, graph->tensors[tensor].dtype, largest,
                       graph->tensors[tensor].bytes, largest};
    if (graph->dynamic && graph->dynamic->is_dynamic[tensor]) {
      info.shape = port_shapes.emplace_back(largest.begin(), largest.end());
      for (const Target& dim : graph->dynamic->dims) {
        const size_t axis = dim.index - graph->tensors[tensor].shape_begin;
        if (axis < largest.size()) port_shapes.back()[axis] = -1;
      }
      info.is_dynamic = true;
    }
    to->push_back(
        {.role = role, .info = info, .tensor = port.tensor, .arena_data = tensors[tensor].data});
  }
}

Port& Executor::Impl::Input(size_t index) { return At(inputs, index, model, "input"); }
Port& Executor::Impl::Output(size_t index) { return At(outputs, index, model, "output"); }

void Executor::Impl::SetData(int32_t root, void* data) {
  const int64_t begin = graph->tensors[static_cast<size_t>(root)].byte_offset;
  for (int32_t i = root; i >= 0; i = graph->tensors[static_cast<size_t>(i)].next_view) {
    const int64_t offset = graph->tensors[static_cast<size_t>(i)].byte_offset - begin;
    tensors[static_cast<size_t>(i)].data = static_cast<std::byte*>(data) + offset;
  }
}

void Executor::Impl::Bind(const Port& port, void* data) {
  const int32_t root = graph->tensors[static_cast<size_t>(port.tensor)].root;
  if (shapes) shapes->SetBound(root, true);
  SetData(root, data);
}

void Executor::Impl::Unbind(const Port& port) {
  if (!port.info.is_dynamic) return Bind(port, port.arena_data);
  const int32_t root = graph->tensors[static_cast<size_t>(port.tensor)].root;
  shapes->SetBound(root, false);
  void* pooled = shapes->PoolData(root);
  SetData(root, pooled != nullptr ? pooled : port.arena_data);
}

void Executor::Impl::SetShape(const Port& port, std::span<const int64_t> shape) {
  if (port.info.is_dynamic) {
    try {
      shapes->SetInputShape(port.tensor, shape);
      Unbind(port);  // the caller's memory has the size of the shape before
    } catch (const Error& error) {
      Fail(error.kind(), port.role, " ", Quoted(port.info.name), ": ", error.what());
    }
  } else if (!std::ranges::equal(shape, port.info.shape)) {
    Fail(ErrorKind::kShape, port.role, " ", Quoted(port.info.name), ": got shape ",
         ShapeText(shape), ", expected ", ShapeText(port.info.shape),
         "; it is not dynamic in this model");
  }
}

size_t Executor::Impl::Bytes(const Port& port) const {
  return port.info.is_dynamic ? shapes->Bytes(port.tensor) : port.info.bytes;
}

void Executor::Impl::RunDynamic(const std::function<void(const CallView&)>* observer) {
  using Clock = std::chrono::steady_clock;
  const auto failing = [&](const PreparedCall* call, auto&& body) {
    try {
      body();
    } catch (const Error& error) {
      if (call == nullptr) Fail(error.kind(), error.what());
      const CallView view = ViewOf(*call);
      Fail(error.kind(), "call ", view.index, " ", Quoted(view.name), ": ", error.what());
    }
  };
  failing(nullptr, [&] { shapes->Begin(); });
  TVMFFIAny result{};
  for (size_t next = 0; next < calls.size();) {
    const size_t i = next++;
    const PreparedCall& call = calls[i];
    const DynamicCall& dynamic = graph->dynamic->calls[i];
    const bool wanted = dynamic.guards.empty() || shapes->Wanted(dynamic);
    if (dynamic.repeat >= 0) {
      if (wanted && shapes->IsTrue(dynamic.source)) next = static_cast<size_t>(dynamic.repeat);
      continue;
    }
    if (call.function == nullptr) {
      failing(&call, [&] { wanted ? shapes->Bind(dynamic) : shapes->Skip(dynamic); });
      continue;
    }
    if (!wanted) continue;
    const auto begin = observer != nullptr ? Clock::now() : Clock::time_point();
    if (call.function(nullptr, call.args, call.num_args, &result) != 0) FailCall(call);
    if (observer == nullptr) continue;
    const auto end = Clock::now();
    CallView view = ViewOf(call);
    view.nanoseconds = std::chrono::nanoseconds(end - begin).count();
    (*observer)(view);
  }
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
