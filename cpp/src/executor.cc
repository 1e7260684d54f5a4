#include "tvmake/executor.h"

#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include "cpu_features.h"
#include "executor_impl.h"
#include "tensor_check.h"
#include "text.h"

namespace tvmake {
namespace {

std::span<const int64_t> ShapeOf(const DLTensor& tensor) {
  return {tensor.shape, static_cast<size_t>(tensor.ndim)};
}

}  // namespace

Executor::Executor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Executor::~Executor() = default;

std::unique_ptr<Executor> Executor::Create(const ModelDefinition& model, const Options& options) {
  return WithModelName(model, [&] {
    CheckCpu(model);
    auto graph = std::make_shared<const Graph>(ReadGraph(model.graph_json, model.kernels));
    std::shared_ptr<const Weights> weights;
    if (!graph->params.empty()) {
      weights = Weights::Load(model, options.weights_path);
      weights->CheckId(*graph);
      weights->CheckTable(*graph);
    }
    if (model.bind_backend != nullptr) model.bind_backend();
    return std::unique_ptr<Executor>(new Executor(
        std::make_unique<Impl>(model, std::move(graph), std::move(weights), options.num_threads)));
  });
}

std::unique_ptr<Executor> Executor::Clone(const Options& options) const {
  return WithModelName(model(), [&] {
    return std::unique_ptr<Executor>(new Executor(
        std::make_unique<Impl>(model(), impl_->graph, impl_->weights, options.num_threads)));
  });
}

const ModelDefinition& Executor::model() const { return impl_->model; }
size_t Executor::num_inputs() const { return impl_->inputs.size(); }
size_t Executor::num_outputs() const { return impl_->outputs.size(); }
const TensorInfo& Executor::input_info(size_t index) const { return impl_->Input(index).info; }
const TensorInfo& Executor::output_info(size_t index) const { return impl_->Output(index).info; }
int Executor::input_index(std::string_view name) const { return FindPort(impl_->inputs, name); }
int Executor::output_index(std::string_view name) const { return FindPort(impl_->outputs, name); }
int Executor::num_threads() const { return impl_->num_threads; }
size_t Executor::alignment() const { return impl_->graph->alignment; }
size_t Executor::arena_bytes() const { return impl_->graph->arena_bytes; }
size_t Executor::pool_bytes() const { return impl_->shapes ? impl_->shapes->pool_bytes() : 0; }
size_t Executor::weights_bytes() const { return impl_->weights ? impl_->weights->bytes() : 0; }
size_t Executor::num_calls() const { return impl_->calls.size(); }

std::string_view Executor::call_name(size_t index) const {
  if (index >= impl_->calls.size()) {
    impl_->Fail(ErrorKind::kIndex, "call ", index, " does not exist, there are ",
                impl_->calls.size());
  }
  return impl_->graph->calls[index].name;
}

void Executor::SetInputShape(size_t index, std::span<const int64_t> shape) {
  impl_->SetShape(impl_->Input(index), shape);
}

void Executor::SetInput(size_t index, const DLTensor& tensor) {
  const Port& input = impl_->Input(index);
  CheckTensor(impl_->model, input, &tensor);
  if (input.info.is_dynamic) SetInputShape(index, ShapeOf(tensor));
  SetInput(index, TensorData(tensor), impl_->Bytes(input));
}

void Executor::SetInput(size_t index, const void* data, size_t bytes) {
  Port& input = impl_->Input(index);
  CheckBuffer(impl_->model, input, data, bytes, impl_->Bytes(input));
  impl_->Unbind(input);
  if (bytes != 0) std::memmove(impl_->View(input).data, data, bytes);
}

void Executor::SetInputZeroCopy(size_t index, const DLTensor* tensor) {
  const Port& input = impl_->Input(index);
  CheckTensor(impl_->model, input, tensor);
  if (input.info.is_dynamic) {
    CheckAlignment(impl_->model, input, TensorData(*tensor), alignment());
    SetInputShape(index, ShapeOf(*tensor));
  }
  SetInputZeroCopy(index, TensorData(*tensor), impl_->Bytes(input));
}

void Executor::SetInputZeroCopy(size_t index, const void* data, size_t bytes) {
  Port& input = impl_->Input(index);
  CheckBuffer(impl_->model, input, data, bytes, impl_->Bytes(input));
  CheckAlignment(impl_->model, input, data, alignment());
  // DLTensor has no const data; kernels do not write to the tensors of inputs.
  impl_->Bind(input, const_cast<void*>(data));
}

void Executor::SetOutputZeroCopy(size_t index, const DLTensor* tensor) {
  const Port& output = impl_->Output(index);
  CheckTensor(impl_->model, output, tensor);
  SetOutputZeroCopy(index, TensorData(*tensor), output.info.bytes);
}

void Executor::SetOutputZeroCopy(size_t index, void* data, size_t bytes) {
  Port& output = impl_->Output(index);
  if (output.info.is_dynamic && output.info.bytes == 0) {
    impl_->Fail(ErrorKind::kShape, "output ", Quoted(output.info.name),
                ": its size has no bound, so that no memory is known to be large enough; "
                "copy it after the run, or bound its dimensions with INPUTS");
  }
  CheckBuffer(impl_->model, output, data, bytes, output.info.bytes);
  CheckAlignment(impl_->model, output, data, alignment());
  impl_->Bind(output, data);
}

void Executor::UnbindInput(size_t index) { impl_->Unbind(impl_->Input(index)); }
void Executor::UnbindOutput(size_t index) { impl_->Unbind(impl_->Output(index)); }
DLTensor Executor::GetInput(size_t index) const { return impl_->View(impl_->Input(index)); }
DLTensor Executor::GetOutput(size_t index) const { return impl_->View(impl_->Output(index)); }

void Executor::CopyOutput(size_t index, void* data, size_t bytes) const {
  const Port& output = impl_->Output(index);
  CheckBuffer(impl_->model, output, data, bytes, impl_->Bytes(output));
  if (bytes != 0) std::memmove(data, impl_->View(output).data, bytes);
}

void Executor::CopyOutput(size_t index, const DLTensor& tensor) const {
  const Port& output = impl_->Output(index);
  CheckTensor(impl_->model, output, &tensor);
  CopyOutput(index, TensorData(tensor), impl_->Bytes(output));
}

void Executor::Run() {
  const ThreadPool::Scope scope(impl_->pool.get());
  if (impl_->shapes) return impl_->RunDynamic(nullptr);
  TVMFFIAny result{};
  for (const PreparedCall& call : impl_->calls) {
    if (call.function(nullptr, call.args, call.num_args, &result) != 0) [[unlikely]] {
      impl_->FailCall(call);
    }
  }
}

void Executor::Run(const std::function<void(const CallView&)>& observer) {
  using Clock = std::chrono::steady_clock;
  const ThreadPool::Scope scope(impl_->pool.get());
  if (impl_->shapes) return impl_->RunDynamic(&observer);
  TVMFFIAny result{};
  for (const PreparedCall& call : impl_->calls) {
    const auto begin = Clock::now();
    const int status = call.function(nullptr, call.args, call.num_args, &result);
    const auto end = Clock::now();
    if (status != 0) impl_->FailCall(call);
    CallView view = impl_->ViewOf(call);
    view.nanoseconds = std::chrono::nanoseconds(end - begin).count();
    observer(view);
  }
}

void Executor::LoadParams(std::span<const std::byte> blob) {
  WithModelName(model(), [&] {
    auto weights = Weights::Copy(blob);
    weights->CheckTable(*impl_->graph);
    impl_->UseWeights(std::move(weights));
  });
}

void Executor::ShareParams(const Executor& other) {
  if (impl_->graph->weights_id != other.impl_->graph->weights_id) {
    impl_->Fail(ErrorKind::kWeights, "cannot share the weights of model ",
                Quoted(other.model().name), ", expected an executor of the same model");
  }
  impl_->UseWeights(other.impl_->weights);
}

}  // namespace tvmake
