// The executor: runs one compiled model on the CPU, of static or dynamic shapes.
//
//   auto executor = tvmake::Executor::Create(kDigits);
//   executor->SetInput(0, image.data(), sizeof(image));
//   executor->Run();
//   executor->CopyOutput(0, scores.data(), sizeof(scores));
#ifndef TVMAKE_EXECUTOR_H_
#define TVMAKE_EXECUTOR_H_

#include <tvm/ffi/c_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tvmake/error.h"

namespace tvmake {

// One compiled function. `name` is what the graph's nodes call it by.
struct Kernel {
  const char* name;
  TVMFFISafeCallType function;
};

// The constant data of one compiled model, usually rendered. Whatever it points to, and the
// definition itself, must outlive every executor made from it. May be shared by all threads.
struct ModelDefinition {
  const char* name = "";
  std::string_view graph_json = {};
  std::span<const std::byte> weights = {};  // contents of weights.bin; empty: they are in a file
  const char* weights_file = nullptr;  // file name to look for beside the image of this definition
  std::span<const Kernel> kernels = {};
  std::span<const char* const> required_cpu_features = {};  // LLVM's names, e.g. "avx2"
  const char* triple = "";
  const char* cpu = "";
  // Points the kernels' `__TVMBackend…` variables to the runtime. Called once per executor, after
  // the CPU check; must be idempotent and thread safe. Null when the kernels use no backend
  // function: then they cannot launch parallel work, and an executor starts no threads.
  void (*bind_backend)() = nullptr;
};

struct Options {
  // Threads that a kernel's parallel loop may use, the caller of Run() included.
  // 0: TVM_NUM_THREADS when set, else one per CPU that this process may run on.
  int num_threads = 0;
  // Weights file in place of the default one. Only for models whose weights are in a file.
  std::string weights_path = {};
};

// `name`, `shape` and `max_shape` live as long as the executor.
struct TensorInfo {
  std::string_view name;
  DLDataType dtype;
  std::span<const int64_t> shape;           // -1: known at run time only
  size_t bytes;                             // the most, where that is known; else 0
  std::span<const int64_t> max_shape = {};  // the largest extents; -1: no bound
  bool is_dynamic = false;
};

// Owns the arena (all tensors but the weights), the prepared calls and a thread pool; shares the
// weights with its clones. One thread at a time may use an executor, not always the same one;
// different executors never disturb each other, not even clones.
//
// Bindings: each input and output is bound to its place in the arena, or by Set…ZeroCopy to the
// caller's memory, which then must stay valid until the tensor is bound anew. Contents stay until
// the next Run(), those of inputs beyond it.
//
// Every function but Run(observer) offers the strong guarantee: after an Error nothing is changed,
// except that a failed Run() leaves the outputs undefined.
class Executor {
 public:
  // Checks the CPU, reads the graph, maps or borrows the weights and prepares every call.
  static std::unique_ptr<Executor> Create(const ModelDefinition& model,
                                          const Options& options = {});

  // A new executor of the same model over the same weights (LoadParams on one does not change
  // the other), all bindings in its own arena. `options.weights_path` is not used.
  std::unique_ptr<Executor> Clone(const Options& options = {}) const;

  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  const ModelDefinition& model() const;
  size_t num_inputs() const;
  size_t num_outputs() const;
  const TensorInfo& input_info(size_t index) const;
  const TensorInfo& output_info(size_t index) const;
  int input_index(std::string_view name) const;  // -1: no such input
  int output_index(std::string_view name) const;

  // Copies into the arena, and binds the input there if a zero-copy binding was in force. The
  // tensor must be on the CPU, compact in row-major order, of the model's dtype and shape.
  void SetInput(size_t index, const DLTensor& tensor);
  void SetInput(size_t index, const void* data, size_t bytes);

  // Gives an input of dynamic shape the shape that it has from now on. Its contents are undefined
  // then. Setting an input from a tensor does this by itself. For a static input, the shape must be
  // the model's. Allocates only where an extent without a bound grows beyond all before.
  void SetInputShape(size_t index, std::span<const int64_t> shape);

  // Binds to the caller's memory, aligned to `alignment()` bytes. No two bindings may overlap, but
  // for inputs among themselves: kernels never write to an input.
  void SetInputZeroCopy(size_t index, const DLTensor* tensor);
  void SetInputZeroCopy(size_t index, const void* data, size_t bytes);
  void SetOutputZeroCopy(size_t index, const DLTensor* tensor);
  void SetOutputZeroCopy(size_t index, void* data, size_t bytes);

  // Back to the arena. The contents are those of the arena, not of the caller's memory.
  void UnbindInput(size_t index);
  void UnbindOutput(size_t index);

  // Views of the current bindings; shape and data are the executor's (or the caller's).
  DLTensor GetInput(size_t index) const;
  DLTensor GetOutput(size_t index) const;
  void CopyOutput(size_t index, void* data, size_t bytes) const;
  void CopyOutput(size_t index, const DLTensor& tensor) const;

  // Calls every kernel in order. Allocates nothing, takes no lock, reads no clock; but for extents
  // without a bound, whose tensors are allocated when they are larger than ever before.
  //
  // Throws Error(kShape) when an input of dynamic shape has none yet, when inputs disagree about a
  // dimension that they share, or when data ask for a shape beyond its bound.
  void Run();

  struct CallView {
    size_t index;      // position in run order
    const char* name;  // of the graph's node
    int64_t nanoseconds;
    std::span<const DLTensor> outputs;  // valid during the callback only: the arena is reused
  };
  // The same with `observer` called after each kernel, for profiles and traces.
  void Run(const std::function<void(const CallView&)>& observer);
  size_t num_calls() const;
  std::string_view call_name(size_t index) const;

  // Replaces the weights of this executor by a copy of `blob`, which is a weights.bin of the same
  // tensor table (count, dtypes, sizes); its id may differ.
  void LoadParams(std::span<const std::byte> blob);
  // Uses the weights that `other` uses now. Both must be executors of the same compiled model.
  void ShareParams(const Executor& other);

  int num_threads() const;
  size_t alignment() const;      // bytes
  size_t arena_bytes() const;    // as planned; allocated once per executor
  size_t pool_bytes() const;     // allocated so far for tensors without a bound
  size_t weights_bytes() const;  // size of the weights.bin in use

 private:
  struct Impl;
  explicit Executor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tvmake

#endif  // TVMAKE_EXECUTOR_H_
