#include "dynamic_reader.h"

#include <algorithm>
#include <map>
#include <utility>

#include "text.h"
#include "tvmake/error.h"

namespace tvmake {
namespace {

template <typename... Parts>
[[noreturn]] void FailDynamic(const Parts&... parts) {
  throw Error(ErrorKind::kGraph,
              Cat("graph JSON is inconsistent: tvmake.dynamic: ", parts..., "; rebuild the model"));
}

// An index out of a file, checked.
size_t Index(int64_t value, size_t size, const char* what) {
  if (value < 0 || static_cast<uint64_t>(value) >= size) {
    FailDynamic(what, " ", value, " does not exist, there are ", size);
  }
  return static_cast<size_t>(value);
}

class DynamicReader {
 public:
  DynamicReader(const GraphJson& json, const Graph& graph) : json_(json), graph_(graph) {}

  std::unique_ptr<const DynamicGraph> Read() {
    ReadCalls();
    ReadSymbols();
    ReadSteps();
    ReadDims();
    ReadScalars();
    ReadPools();
    CheckCalls();
    return std::make_unique<const DynamicGraph>(std::move(dynamic_));
  }

 private:
  void ReadCalls();
  void ReadSymbols();
  void ReadSteps();
  void ReadDims();
  void ReadScalars();
  void ReadPools();
  void CheckCalls() const;
  void CheckInputs() const;

  DynamicCall& CallOf(int64_t node);

  const GraphJson& json_;
  const Graph& graph_;
  DynamicGraph dynamic_;
  std::vector<int32_t> call_of_node_;
  std::vector<uint32_t> stage_of_symbol_;
};

// Views are no calls; all other nodes with a function are, in the order of the nodes.
void DynamicReader::ReadCalls() {
  int32_t next = 0;
  for (const JsonNode& node : json_.nodes) {
    const bool is_call = node.is_call && node.func_name != "__nop";
    call_of_node_.push_back(is_call ? next++ : -1);
  }
  dynamic_.calls.resize(graph_.calls.size());
  for (const auto& row : json_.loops) {
    DynamicCall& call = CallOf(row[0]);
    const auto repeat = static_cast<int32_t>(&CallOf(row[1]) - dynamic_.calls.data());
    if (json_.nodes[static_cast<size_t>(row[0])].func_name != "__repeat" || row[1] > row[0]) {
      FailDynamic("node ", row[0], " cannot repeat from node ", row[1]);
    }
    call.repeat = repeat;
  }
  for (size_t i = 0; i < graph_.calls.size(); ++i) {
    const GraphCall& call = graph_.calls[i];
    if (call.function != nullptr) continue;
    dynamic_.calls[i].source = graph_.args[call.args_begin];
    // A call that neither binds nor repeats is a bind of no symbols.
    if (dynamic_.calls[i].repeat < 0) dynamic_.calls[i].stage = dynamic_.num_stages++;
  }
  for (const auto& row : json_.guards) {
    const size_t entry = Index(row[1], graph_.tensors.size(), "tensor");
    const GraphTensor& tensor = graph_.tensors[entry];
    if (tensor.bytes != 1 || tensor.dtype.bits != 8 || (row[2] != 0 && row[2] != 1)) {
      FailDynamic("the guard of node ", row[0], " is no bool");
    }
    CallOf(row[0]).guards.push_back({static_cast<int32_t>(entry), row[2] == 1});
  }
}

DynamicCall& DynamicReader::CallOf(int64_t node) {
  const int32_t call = call_of_node_[Index(node, call_of_node_.size(), "node")];
  if (call < 0) FailDynamic("node ", node, " is no call");
  return dynamic_.calls[static_cast<size_t>(call)];
}

void DynamicReader::ReadSymbols() {
  for (const JsonSymbol& symbol : json_.symbols) {
    if (symbol.max < kUnbounded)
      FailDynamic("the bound of ", Quoted(symbol.name), " is ", symbol.max);
    if (symbol.min < 1 ||
        (symbol.max != kUnbounded && symbol.min > std::max<int64_t>(symbol.max, 1))) {
      FailDynamic("the least of ", Quoted(symbol.name), " is ", symbol.min);
    }
    dynamic_.symbols.push_back({symbol.name, symbol.max, symbol.min});
  }
  stage_of_symbol_.resize(dynamic_.symbols.size());
  for (const auto& row : json_.binds) {
    DynamicCall& call = CallOf(row[0]);
    const size_t symbol = Index(row[1], dynamic_.symbols.size(), "symbol");
    if (call.source < 0 || call.repeat >= 0 || stage_of_symbol_[symbol] != 0) {
      FailDynamic("node ", row[0], " cannot bind symbol ", row[1]);
    }
    stage_of_symbol_[symbol] = call.stage;
    call.symbols.push_back(static_cast<int32_t>(symbol));
  }
  for (const DynamicCall& call : dynamic_.calls) {
    if (call.source < 0) continue;
    const GraphTensor& source = graph_.tensors[static_cast<size_t>(call.source)];
    if (source.bytes < call.symbols.size() * sizeof(int64_t)) {
      FailDynamic("a tensor of ", source.bytes, " bytes cannot bind ", call.symbols.size(),
                  " symbols");
    }
  }
}

void DynamicReader::ReadSteps() {
  for (const auto& row : json_.steps) {
    const size_t position = dynamic_.steps.size();
    Step step{.code = static_cast<Step::Code>(Index(row[0], Step::kNumCodes, "operation")),
              .a = row[1],
              .b = row[2],
              .c = row[3],
              .stage = 0};
    if (step.code == Step::kSymbol) {
      step.stage = stage_of_symbol_[Index(step.a, dynamic_.symbols.size(), "symbol")];
    } else if (step.code != Step::kConstant) {
      for (const int64_t operand : {step.a, step.b, step.code == Step::kSelect ? step.c : 0}) {
        step.stage = std::max(step.stage, dynamic_.steps[Index(operand, position, "step")].stage);
      }
    }
    dynamic_.steps.push_back(step);
  }
}

void DynamicReader::ReadDims() {
  dynamic_.tensor_stage.resize(graph_.tensors.size());
  dynamic_.is_dynamic.resize(graph_.tensors.size());
  std::vector<bool> has_step(json_.dims.size());
  for (const auto& row : json_.extents) {
    const size_t entry = Index(row[0], graph_.tensors.size(), "tensor");
    const GraphTensor& tensor = graph_.tensors[entry];
    const size_t axis = Index(row[1], static_cast<size_t>(tensor.ndim), "axis");
    const size_t step = Index(row[2], dynamic_.steps.size(), "step");
    if (tensor.byte_offset == kWeight) FailDynamic("tensor ", row[0], " is a weight");
    const uint32_t stage = dynamic_.steps[step].stage;
    const auto index = static_cast<uint32_t>(tensor.shape_begin + axis);
    dynamic_.dims.push_back({index, static_cast<int32_t>(step), stage});
    dynamic_.tensor_stage[entry] = std::max(dynamic_.tensor_stage[entry], stage);
    dynamic_.is_dynamic[entry] = true;
    has_step[index] = true;
  }
  for (size_t i = 0; i < graph_.tensors.size(); ++i) {
    const GraphTensor& tensor = graph_.tensors[i];
    const auto root = static_cast<size_t>(tensor.root);
    // A view and its root are compared when both are known.
    if (dynamic_.is_dynamic[root]) {
      dynamic_.is_dynamic[i] = true;
      dynamic_.tensor_stage[i] = std::max(dynamic_.tensor_stage[i], dynamic_.tensor_stage[root]);
    }
    for (size_t k = tensor.shape_begin; k < tensor.shape_begin + static_cast<size_t>(tensor.ndim);
         ++k) {
      if (json_.dims[k] == kUnbounded && !has_step[k]) {
        FailDynamic("tensor ", i, " has an extent of ", kUnbounded);
      }
    }
  }
  CheckInputs();
}

void DynamicReader::CheckInputs() const {
  for (const GraphPort& input : graph_.inputs) {
    const GraphTensor& tensor = graph_.tensors[static_cast<size_t>(input.tensor)];
    for (const Target& dim : dynamic_.dims) {
      const bool own = dim.index >= tensor.shape_begin &&
                       dim.index < tensor.shape_begin + static_cast<uint32_t>(tensor.ndim);
      const Step& step = dynamic_.steps[static_cast<size_t>(dim.step)];
      if (own && (step.code != Step::kSymbol || step.stage != 0)) {
        FailDynamic("a dimension of input ", Quoted(input.name), " is no symbol");
      }
    }
  }
}

void DynamicReader::ReadScalars() {
  std::vector<uint32_t> next(graph_.calls.size());  // argument to look at
  for (const auto& row : json_.scalars) {
    CallOf(row[0]);
    const auto index = static_cast<size_t>(call_of_node_[static_cast<size_t>(row[0])]);
    const GraphCall& call = graph_.calls[index];
    const size_t step = Index(row[1], dynamic_.steps.size(), "step");
    while (next[index] < call.num_args && graph_.args[call.args_begin + next[index]] != kScalar) {
      ++next[index];
    }
    if (next[index] == call.num_args) FailDynamic("node ", row[0], " takes no number");
    dynamic_.scalars.push_back(
        {call.args_begin + next[index]++, static_cast<int32_t>(step), dynamic_.steps[step].stage});
  }
}

void DynamicReader::ReadPools() {
  dynamic_.pool.assign(graph_.tensors.size(), -1);
  std::map<int64_t, int32_t> pools;  // by storage id
  for (size_t i = 0; i < graph_.tensors.size(); ++i) {
    const GraphTensor& tensor = graph_.tensors[i];
    if (tensor.byte_offset != kPooled || tensor.root != static_cast<int32_t>(i)) continue;
    if (!dynamic_.is_dynamic[i]) FailDynamic("tensor ", i, " has no place in the arena");
    const auto next = static_cast<int32_t>(pools.size());
    dynamic_.pool[i] = pools.emplace(json_.storage_ids[i], next).first->second;
  }
  dynamic_.num_pools = pools.size();
}

// No call may use what becomes known only after it.
void DynamicReader::CheckCalls() const {
  uint32_t stage = 0;
  std::map<uint32_t, uint32_t> scalar_stage;
  for (const Target& scalar : dynamic_.scalars) scalar_stage[scalar.index] = scalar.stage;
  for (size_t i = 0; i < graph_.calls.size(); ++i) {
    const GraphCall& call = graph_.calls[i];
    for (uint32_t arg = call.args_begin; arg < call.args_begin + call.num_args; ++arg) {
      const int32_t tensor = graph_.args[arg];
      const auto known = tensor == kScalar ? scalar_stage[arg]
                                           : dynamic_.tensor_stage[static_cast<size_t>(tensor)];
      if (known > stage)
        FailDynamic("call ", Quoted(call.name), " uses an extent that is not known yet");
    }
    if (call.function == nullptr && dynamic_.calls[i].repeat < 0) stage = dynamic_.calls[i].stage;
  }
}

}  // namespace

std::unique_ptr<const DynamicGraph> ReadDynamicGraph(const GraphJson& json, const Graph& graph) {
  return DynamicReader(json, graph).Read();
}

}  // namespace tvmake
