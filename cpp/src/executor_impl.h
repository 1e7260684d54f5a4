// The state of an executor.
#ifndef TVMAKE_EXECUTOR_IMPL_H_
#define TVMAKE_EXECUTOR_IMPL_H_

#include <functional>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <vector>

#include "aligned_buffer.h"
#include "dynamic_shapes.h"
#include "graph.h"
#include "text.h"
#include "thread_pool.h"
#include "tvmake/executor.h"
#include "weights.h"

namespace tvmake {

// An input or output.
struct Port {
  const char* role;  // "input" or "output", for messages
  TensorInfo info;
  int32_t tensor;    // into Graph::tensors
  void* arena_data;  // its place when it is not bound to the caller's memory
};

int FindPort(const std::vector<Port>& ports, std::string_view name);

// Everything that a kernel is called with, laid out once.
struct PreparedCall {
  TVMFFISafeCallType function;
  const TVMFFIAny* args;
  int32_t num_args;
};

struct Executor::Impl {
  Impl(const ModelDefinition& model, std::shared_ptr<const Graph> graph,
       std::shared_ptr<const Weights> weights, int num_threads);

  Port& Input(size_t index);
  Port& Output(size_t index);
  DLTensor View(const Port& port) const { return tensors[static_cast<size_t>(port.tensor)]; }
  void Bind(const Port& port, void* data);
  void Unbind(const Port& port);
  void SetShape(const Port& port, std::span<const int64_t> shape);
  size_t Bytes(const Port& port) const;  // of its present shape
  void RunDynamic(const std::function<void(const CallView&)>* observer);
  void UseWeights(std::shared_ptr<const Weights> new_weights);
  CallView ViewOf(const PreparedCall& call) const;

  template <typename... Parts>
  [[noreturn]] void Fail(ErrorKind kind, const Parts&... parts) const {
    throw Error(kind, Cat("model ", Quoted(model.name), ": ", parts...));
  }
  [[noreturn]] void FailCall(const PreparedCall& call) const;

  const ModelDefinition& model;
  std::shared_ptr<const Graph> graph;
  std::shared_ptr<const Weights> weights;  // null: the model has none
  int num_threads;
  std::unique_ptr<ThreadPool> pool;  // null: kernels run serially
  AlignedBuffer arena;
  std::vector<int64_t> dims;      // as Graph::dims; of dynamic extents, the present ones
  std::vector<DLTensor> tensors;  // as Graph::tensors; args point to them
  std::vector<TVMFFIAny> args;    // as Graph::args
  std::vector<PreparedCall> calls;
  std::vector<Port> inputs;
  std::vector<Port> outputs;
  std::vector<std::vector<int64_t>> port_shapes;
  std::unique_ptr<DynamicShapes> shapes;  // null: every extent is static

 private:
  void PrepareTensors();
  void PrepareCalls();
  void PreparePorts(const char* role, const std::vector<GraphPort>& from, std::vector<Port>* to);
  void SetData(int32_t root, void* data);
};

// Runs `body`, putting the model's name before the text of an Error.
template <typename Body>
auto WithModelName(const ModelDefinition& model, Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    throw Error(error.kind(), Cat("model ", Quoted(model.name), ": ", error.what()));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kMemory, Cat("model ", Quoted(model.name), ": out of memory"));
  }
}

}  // namespace tvmake

#endif  // TVMAKE_EXECUTOR_IMPL_H_
