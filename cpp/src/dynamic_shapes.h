// The extents of one executor's tensors while they change, and memory for tensors without a bound.
#ifndef TVMAKE_DYNAMIC_SHAPES_H_
#define TVMAKE_DYNAMIC_SHAPES_H_

#include <tvm/ffi/c_api.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "aligned_buffer.h"
#include "graph.h"

namespace tvmake {

// Works on the executor's own arrays, which must outlive it and not move.
class DynamicShapes {
 public:
  DynamicShapes(const Graph& graph, std::span<DLTensor> tensors, std::span<int64_t> dims,
                std::span<TVMFFIAny> args);

  // The extents that an input can have, for messages: "[N<=8, 3, H, W]".
  std::string Describe(int32_t tensor) const;

  // Gives an input a shape. Throws Error(kShape) that says what is expected, and changes nothing.
  void SetInputShape(int32_t tensor, std::span<const int64_t> shape);
  // Declares an input's memory to be the caller's, or the executor's own.
  void SetBound(int32_t tensor, bool bound) { bound_[static_cast<size_t>(tensor)] = bound; }
  // The executor's own memory for a tensor without a bound, as it is now; null before its first
  // use.
  void* PoolData(int32_t tensor) const;

  // Computes what the inputs' shapes decide. Throws Error(kShape) when they contradict each other,
  // or an input has no shape yet.
  void Begin();
  // Whether the call is to run.
  bool Wanted(const DynamicCall& call) const;
  // The value of a tensor of one bool.
  bool IsTrue(int32_t tensor) const;
  // Reads the symbols of a call that binds some. Throws Error(kShape).
  void Bind(const DynamicCall& call);
  // Takes their values for unknown: nothing that depends on them is used.
  void Skip(const DynamicCall& call);

  size_t Bytes(int32_t tensor) const;
  size_t pool_bytes() const;

 private:
  struct Pool {
    AlignedBuffer buffer;
    size_t bytes = 0;
  };

  void Evaluate(uint32_t stage, bool lenient);
  int64_t Compute(const Step& step) const;
  void CheckTensors(uint32_t stage, bool lenient);
  void Grow(int32_t root, size_t bytes);
  void SetData(int32_t root, void* data);
  const Symbol* SymbolOf(int32_t tensor, size_t axis) const;

  const Graph& graph_;
  const DynamicGraph& dynamic_;
  std::span<DLTensor> tensors_;
  std::span<int64_t> dims_;
  std::span<TVMFFIAny> args_;
  std::vector<int64_t> symbols_;
  std::vector<int64_t> values_;  // of the steps
  std::vector<Pool> pools_;
  std::vector<bool> bound_;      // by tensor
  std::vector<bool> has_shape_;  // by input
  bool changed_ = true;
};

}  // namespace tvmake

#endif  // TVMAKE_DYNAMIC_SHAPES_H_
