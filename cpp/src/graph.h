// A validated graph: everything that an executor needs to lay out tensors and prepare calls.
#ifndef TVMAKE_GRAPH_H_
#define TVMAKE_GRAPH_H_

#include <tvm/ffi/c_api.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dynamic_graph.h"
#include "tvmake/executor.h"

namespace tvmake {

// One tensor of the graph. Views (`__nop`) are tensors that share the storage of their root; parts
// (`__part`) have some bytes of it.
struct GraphTensor {
  DLDataType dtype;
  int32_t ndim;
  uint32_t shape_begin;  // into Graph::dims
  size_t bytes;
  int64_t byte_offset;  // in the arena, or kWeight or kPooled
  int32_t root;         // the tensor that owns the storage; itself, unless a view or part
  int32_t next_view;    // next tensor of the same root, in a chain that begins at it; -1: the end
};

constexpr int64_t kWeight = -1;
constexpr int64_t kPooled = -2;  // memory that is allocated when its size is known

struct GraphCall {
  std::string name;
  TVMFFISafeCallType function;  // null: the call binds symbols
  uint32_t args_begin;          // into Graph::args: inputs, scalars, outputs, workspaces
  uint32_t num_args;
  uint32_t outputs_begin;  // into Graph::tensors
  uint32_t num_outputs;    // without workspaces
};

// An input, output or weight.
struct GraphPort {
  std::string name;
  int32_t tensor;
};

constexpr int32_t kScalar = -1;

// Immutable once read; shared by an executor and its clones.
//
// Extents that are known at run time only have their largest value here, or kUnbounded.
//
// What reading guarantees: arguments are defined before use; every tensor lies inside the arena,
// aligned; the storage of an input overlaps nothing else, and outputs overlap no other output; only
// views and parts share storage; an output is neither an input nor a weight, nor a part, nor is it
// joined with anything (`__join`).
struct Graph {
  std::vector<int64_t> dims;
  std::vector<GraphTensor> tensors;
  std::vector<int32_t> args;  // tensors, by call; kScalar for a number
  std::vector<GraphCall> calls;
  std::vector<GraphPort> inputs;
  std::vector<GraphPort> outputs;
  std::vector<GraphPort> params;  // in the order of weights.bin's table
  size_t arena_bytes = 0;
  size_t alignment = 0;
  std::string weights_id;  // 64 hexadecimal digits; empty when there are no weights
  std::unique_ptr<const DynamicGraph> dynamic;  // null: every extent is static

  std::span<const int64_t> Shape(int32_t tensor) const {
    const GraphTensor& t = tensors[static_cast<size_t>(tensor)];
    return {dims.data() + t.shape_begin, static_cast<size_t>(t.ndim)};
  }
};

// Throws Error(kGraph) that names the node, or the byte position when it is not even JSON.
Graph ReadGraph(std::string_view json, std::span<const Kernel> kernels);

}  // namespace tvmake

#endif  // TVMAKE_GRAPH_H_
