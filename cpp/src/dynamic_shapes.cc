#include "dynamic_shapes.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "text.h"
#include "tvmake/error.h"

namespace tvmake {
namespace {

constexpr int64_t kLargestExtent = int64_t{1} << 40;

int64_t FloorDivide(int64_t a, int64_t b) {
  if (b == 0) return 0;  // of an extent that is not known: nothing uses it
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

// Wraps around: a value out of range is found where it becomes an extent.
int64_t Wrap(uint64_t value) { return static_cast<int64_t>(value); }

}  // namespace

DynamicShapes::DynamicShapes(const Graph& graph, std::span<DLTensor> tensors,
                             std::span<int64_t> dims, std::span<TVMFFIAny> args)
    : graph_(graph),
      dynamic_(*graph.dynamic),
      tensors_(tensors),
      dims_(dims),
      args_(args),
      symbols_(dynamic_.symbols.size()),
      values_(dynamic_.steps.size()),
      pools_(dynamic_.num_pools),
      bound_(tensors.size()),
      has_shape_(graph.inputs.size()) {
  for (const Target& dim : dynamic_.dims) dims_[dim.index] = 0;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    has_shape_[i] = !dynamic_.is_dynamic[static_cast<size_t>(graph.inputs[i].tensor)];
  }
}

const Symbol* DynamicShapes::SymbolOf(int32_t tensor, size_t axis) const {
  const size_t index = graph_.tensors[static_cast<size_t>(tensor)].shape_begin + axis;
  const auto dim = std::ranges::find(dynamic_.dims, index, &Target::index);
  if (dim == dynamic_.dims.end()) return nullptr;
  const Step& step = dynamic_.steps[static_cast<size_t>(dim->step)];
  return step.code == Step::kSymbol ? &dynamic_.symbols[static_cast<size_t>(step.a)] : nullptr;
}

std::string DynamicShapes::Describe(int32_t tensor) const {
  const auto shape = graph_.Shape(tensor);
  std::string text = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (axis != 0) text += ", ";
    const Symbol* symbol = SymbolOf(tensor, axis);
    if (symbol == nullptr) {
      text += std::to_string(shape[axis]);
    } else {
      if (symbol->min > 1) text += Cat(symbol->min, "<=");
      text += symbol->name;
      if (symbol->max != kUnbounded) text += Cat("<=", symbol->max);
    }
  }
  return text + "]";
}

void DynamicShapes::SetInputShape(int32_t tensor, std::span<const int64_t> shape) {
  const auto index = static_cast<size_t>(tensor);
  const GraphTensor& described = graph_.tensors[index];
  const auto fail = [&](const std::string& why) {
    throw Error(ErrorKind::kShape,
                Cat("got shape ", ShapeText(shape), ", expected ", Describe(tensor), ": ", why));
  };
  if (shape.size() != static_cast<size_t>(described.ndim)) fail("the rank differs");
  size_t bytes = (size_t{described.dtype.bits} * described.dtype.lanes + 7) / 8;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const Symbol* symbol = SymbolOf(tensor, axis);
    const int64_t fixed = graph_.Shape(tensor)[axis];
    if (symbol == nullptr && shape[axis] != fixed) fail(Cat("axis ", axis, " is ", fixed));
    if (symbol != nullptr && shape[axis] < symbol->min) {
      fail(Cat(symbol->name, " is at least ", symbol->min));
    }
    if (symbol != nullptr && symbol->max != kUnbounded && shape[axis] > symbol->max) {
      fail(Cat(symbol->name, " is at most ", symbol->max,
               "; the bound is set by INPUTS when the model is compiled"));
    }
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(shape[axis]), &bytes) ||
        bytes > SIZE_MAX / 2) {
      fail("it is too large for this address space");
    }
  }
  if (dynamic_.pool[index] >= 0 && !bound_[index]) Grow(tensor, bytes);
  std::ranges::copy(shape, dims_.begin() + described.shape_begin);
  for (size_t i = 0; i < graph_.inputs.size(); ++i) {
    if (graph_.inputs[i].tensor == tensor) has_shape_[i] = true;
  }
  changed_ = true;
}

void* DynamicShapes::PoolData(int32_t tensor) const {
  const int32_t pool = dynamic_.pool[static_cast<size_t>(tensor)];
  return pool < 0 ? nullptr : pools_[static_cast<size_t>(pool)].buffer.data();
}

void DynamicShapes::Begin() {
  if (!changed_) return;
  std::vector<const std::string*> from(symbols_.size());  // the input that decided each symbol
  for (size_t i = 0; i < graph_.inputs.size(); ++i) {
    const GraphPort& input = graph_.inputs[i];
    if (!has_shape_[i]) {
      throw Error(ErrorKind::kShape,
                  Cat("input ", Quoted(input.name), " has no shape yet, expected ",
                      Describe(input.tensor), "; set it before the run"));
    }
    const GraphTensor& tensor = graph_.tensors[static_cast<size_t>(input.tensor)];
    for (size_t axis = 0; axis < static_cast<size_t>(tensor.ndim); ++axis) {
      const Symbol* symbol = SymbolOf(input.tensor, axis);
      if (symbol == nullptr) continue;
      const auto index = static_cast<size_t>(symbol - dynamic_.symbols.data());
      const int64_t value = dims_[tensor.shape_begin + axis];
      if (from[index] != nullptr && symbols_[index] != value) {
        throw Error(ErrorKind::kShape,
                    Cat("input ", Quoted(input.name), " has ", symbol->name, " = ", value,
                        ", input ", Quoted(*from[index]), " has ", symbol->name, " = ",
                        symbols_[index], "; they must agree"));
      }
      from[index] = &input.name;
      symbols_[index] = value;
    }
  }
  Evaluate(0, /*lenient=*/false);
  changed_ = false;
}

bool DynamicShapes::Wanted(const DynamicCall& call) const {
  return std::ranges::all_of(
      call.guards, [this](const Guard& guard) { return IsTrue(guard.tensor) == guard.value; });
}

bool DynamicShapes::IsTrue(int32_t tensor) const {
  return *static_cast<const uint8_t*>(tensors_[static_cast<size_t>(tensor)].data) != 0;
}

void DynamicShapes::Bind(const DynamicCall& call) {
  const auto* values =
      static_cast<const std::byte*>(tensors_[static_cast<size_t>(call.source)].data);
  for (size_t i = 0; i < call.symbols.size(); ++i) {
    int64_t value;
    std::memcpy(&value, values + i * sizeof(value), sizeof(value));
    const Symbol& symbol = dynamic_.symbols[static_cast<size_t>(call.symbols[i])];
    if (value < 0 || value > kLargestExtent || (symbol.max != kUnbounded && value > symbol.max)) {
      throw Error(ErrorKind::kShape, Cat("the data asks for ", Quoted(symbol.name), " = ", value,
                                         ", expected a number from 0",
                                         symbol.max == kUnbounded ? "" : Cat(" to ", symbol.max)));
    }
    symbols_[static_cast<size_t>(call.symbols[i])] = value;
  }
  Evaluate(call.stage, /*lenient=*/false);
}

void DynamicShapes::Skip(const DynamicCall& call) {
  for (const int32_t symbol : call.symbols) symbols_[static_cast<size_t>(symbol)] = 0;
  Evaluate(call.stage, /*lenient=*/true);
}

int64_t DynamicShapes::Compute(const Step& step) const {
  if (step.code == Step::kConstant) return step.a;
  if (step.code == Step::kSymbol) return symbols_[static_cast<size_t>(step.a)];
  const int64_t a = values_[static_cast<size_t>(step.a)];
  const int64_t b = values_[static_cast<size_t>(step.b)];
  switch (step.code) {
    case Step::kAdd:
      return Wrap(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    case Step::kSubtract:
      return Wrap(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
    case Step::kMultiply: {
      int64_t result;
      return __builtin_mul_overflow(a, b, &result) ? INT64_MAX : result;
    }
    case Step::kFloorDivide:
      return b == -1 ? Wrap(0 - static_cast<uint64_t>(a)) : FloorDivide(a, b);
    case Step::kFloorModulo:
      return b == 0 || b == -1 ? 0 : a - b * FloorDivide(a, b);
    case Step::kMin:
      return std::min(a, b);
    case Step::kMax:
      return std::max(a, b);
    case Step::kEqual:
      return a == b;
    case Step::kLess:
      return a < b;
    default:
      return a != 0 ? b : values_[static_cast<size_t>(step.c)];
  }
}

// Computes everything of one stage. `lenient`: what makes no sense becomes 0.
void DynamicShapes::Evaluate(uint32_t stage, bool lenient) {
  for (size_t i = 0; i < dynamic_.steps.size(); ++i) {
    if (dynamic_.steps[i].stage == stage) values_[i] = Compute(dynamic_.steps[i]);
  }
  for (const Target& dim : dynamic_.dims) {
    if (dim.stage == stage) dims_[dim.index] = values_[static_cast<size_t>(dim.step)];
  }
  for (const Target& scalar : dynamic_.scalars) {
    if (scalar.stage == stage) {
      args_[scalar.index].v_int64 = values_[static_cast<size_t>(scalar.step)];
    }
  }
  CheckTensors(stage, lenient);
}

// Every tensor must fit into its memory, and every view must be as large as what it views.
void DynamicShapes::CheckTensors(uint32_t stage, bool lenient) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!dynamic_.is_dynamic[i] || dynamic_.tensor_stage[i] != stage) continue;
    const auto index = static_cast<int32_t>(i);
    const GraphTensor& tensor = graph_.tensors[i];
    const auto largest = graph_.Shape(index);
    const std::span<int64_t> shape = dims_.subspan(tensor.shape_begin, largest.size());
    bool fits = true;
    int64_t elements = 1;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      fits = fits && shape[axis] >= 0 && shape[axis] <= kLargestExtent &&
             (largest[axis] == kUnbounded || shape[axis] <= largest[axis]) &&
             !__builtin_mul_overflow(elements, std::max<int64_t>(shape[axis], 1), &elements) &&
             elements <= kLargestExtent;
    }
    const bool is_view = tensor.root != index;
    if (fits && is_view) fits = Bytes(index) == Bytes(tensor.root);
    if (!fits && lenient) {
      std::ranges::fill(shape, 0);
    } else if (!fits) {
      const std::string got = ShapeText(shape);
      throw Error(ErrorKind::kShape,
                  is_view ? Cat("a tensor of shape ",
                                ShapeText({tensors_[static_cast<size_t>(tensor.root)].shape,
                                           static_cast<size_t>(
                                               tensors_[static_cast<size_t>(tensor.root)].ndim)}),
                                " cannot be reshaped to ", got)
                          : Cat("a tensor of shape ", got, " does not fit into ",
                                ShapeText(largest), "; -1 stands for no bound"));
    }
    if (!is_view && dynamic_.pool[i] >= 0 && !bound_[i]) Grow(index, Bytes(index));
  }
}

size_t DynamicShapes::Bytes(int32_t tensor) const {
  const DLTensor& t = tensors_[static_cast<size_t>(tensor)];
  size_t elements = 1;
  for (int32_t axis = 0; axis < t.ndim; ++axis) elements *= static_cast<size_t>(t.shape[axis]);
  return (elements * t.dtype.bits * t.dtype.lanes + 7) / 8;
}

size_t DynamicShapes::pool_bytes() const {
  size_t sum = 0;
  for (const Pool& pool : pools_) sum += pool.bytes;
  return sum;
}

// Makes a pool large enough. Buffers never shrink: a second run of a shape allocates nothing.
void DynamicShapes::Grow(int32_t root, size_t bytes) {
  const int32_t index = dynamic_.pool[static_cast<size_t>(root)];
  Pool& pool = pools_[static_cast<size_t>(index)];
  const size_t needed = std::max<size_t>(bytes, graph_.alignment);
  if (pool.bytes >= needed) return;
  AlignedBuffer larger(needed, graph_.alignment);
  pool.buffer = std::move(larger);
  pool.bytes = needed;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (dynamic_.pool[i] == index && !bound_[i]) {
      SetData(static_cast<int32_t>(i), pool.buffer.data());
    }
  }
}

void DynamicShapes::SetData(int32_t root, void* data) {
  for (int32_t i = root; i >= 0; i = graph_.tensors[static_cast<size_t>(i)].next_view) {
    tensors_[static_cast<size_t>(i)].data = data;
  }
}

}  // namespace tvmake
