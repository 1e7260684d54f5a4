// What a graph with extents that are known at run time only has beside a static one.
#ifndef TVMAKE_DYNAMIC_GRAPH_H_
#define TVMAKE_DYNAMIC_GRAPH_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tvmake {

struct GraphJson;
struct Graph;

constexpr int64_t kUnbounded = -1;  // in place of a largest extent

// An extent, or another number, that a run finds out: from the inputs' shapes, or from data.
struct Symbol {
  std::string name;
  int64_t max;      // kUnbounded: none
  int64_t min = 1;  // of a dimension of an input
};

// One operation of the program that computes extents. Operands are steps before it; of a constant,
// `a` is the value, and of a symbol, its index.
struct Step {
  enum Code : uint8_t {
    kConstant,
    kSymbol,
    kAdd,
    kSubtract,
    kMultiply,
    kFloorDivide,
    kFloorModulo,
    kMin,
    kMax,
    kEqual,
    kLess,
    kSelect,  // a ? b : c
    kNumCodes
  };
  Code code;
  int64_t a, b, c;
  uint32_t stage;
};

// Something that takes the value of a step.
struct Target {
  uint32_t index;  // into Graph::dims, or Graph::args
  int32_t step;
  uint32_t stage;
};

// A call runs only if the one bool in `tensor` has this value.
struct Guard {
  int32_t tensor;
  bool value;
};

// What belongs to one call, beside its kernel.
struct DynamicCall {
  std::vector<Guard> guards;
  std::vector<int32_t> symbols;  // that take their values from the elements of `source`
  int32_t source = -1;           // a tensor; -1: the call is a kernel's
  int32_t repeat = -1;           // the call to go back to while `source` is true; -1: none
  uint32_t stage = 0;            // that begins with this call
};

// Immutable once read. A stage is what becomes known together: 0 with the inputs' shapes, k with
// the k-th call that binds symbols.
struct DynamicGraph {
  std::vector<Symbol> symbols;
  std::vector<Step> steps;
  std::vector<Target> dims;
  std::vector<Target> scalars;
  std::vector<DynamicCall> calls;      // as Graph::calls
  std::vector<uint32_t> tensor_stage;  // as Graph::tensors: when its shape is complete
  std::vector<bool> is_dynamic;        // as Graph::tensors
  std::vector<int32_t> pool;  // as Graph::tensors: of roots without an upper bound; else -1
  size_t num_pools = 0;
  uint32_t num_stages = 1;
};

}  // namespace tvmake

#endif  // TVMAKE_DYNAMIC_GRAPH_H_
