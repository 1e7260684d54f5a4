#include "graph.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "dtype.h"
#include "dynamic_reader.h"
#include "graph_json.h"
#include "text.h"

namespace tvmake {
namespace {

constexpr std::string_view kViewFunction = "__nop";
constexpr std::string_view kPartFunction = "__part";
constexpr std::string_view kJoinFunction = "__join";
constexpr std::string_view kBindFunction = "__bind";
constexpr std::string_view kRepeatFunction = "__repeat";

template <typename... Parts>
[[noreturn]] void Fail(const Parts&... parts) {
  throw Error(ErrorKind::kGraph,
              Cat("graph JSON is inconsistent: ", parts..., "; rebuild the model"));
}

std::string NodeText(const JsonNode& node, size_t index) {
  return Cat("node ", index, " ", Quoted(node.name));
}

// Turns a GraphJson into a Graph, one aspect after the other.
class GraphReader {
 public:
  GraphReader(GraphJson json, std::span<const Kernel> kernels) : json_(std::move(json)) {
    for (const Kernel& kernel : kernels) kernels_.emplace(kernel.name, kernel.function);
  }

  Graph Read() && {
    ReadHeader();
    CheckRows();
    ReadTensors();
    ReadArguments();
    ReadCalls();
    ReadOutputs();
    CheckOverlap();
    if (json_.is_dynamic) graph_.dynamic = ReadDynamicGraph(json_, graph_);
    graph_.dims = std::move(json_.dims);
    return std::move(graph_);
  }

 private:
  void ReadHeader();
  void CheckRows();
  void ReadTensors();
  GraphTensor ReadTensor(size_t entry) const;
  size_t TensorBytes(size_t entry) const;
  void PlaceTensor(size_t entry);
  void ReadArguments();
  void ReadPorts(const std::vector<int64_t>& nodes, bool weights, std::vector<GraphPort>* ports);
  void ReadCalls();
  void ReadCall(const JsonNode& node, size_t index);
  void ReadBind(const JsonNode& node, size_t index);
  void ReadRepeat(const JsonNode& node, size_t index);
  void ReadControl(const JsonNode& node, int32_t source);
  void ReadView(const JsonNode& node, size_t index);
  void ReadPart(const JsonNode& node, size_t index);
  void ReadJoin(const JsonNode& node, size_t index);
  void ChainView(int32_t entry, int32_t root);
  void RefuseJoined(const GraphPort& port) const;
  void OwnStorage(size_t entry);
  void ReadOutputs();
  void CheckOverlap() const;

  int32_t Resolve(const EntryRef& ref, size_t limit, std::string_view user) const;
  std::string EntryText(size_t entry) const;
  GraphTensor& TensorOf(int32_t entry) { return graph_.tensors[static_cast<size_t>(entry)]; }
  const GraphTensor& TensorOf(int32_t entry) const {
    return graph_.tensors[static_cast<size_t>(entry)];
  }

  GraphJson json_;
  Graph graph_;
  std::unordered_map<std::string_view, TVMFFISafeCallType> kernels_;
  std::unordered_map<int64_t, int32_t> storage_owner_;  // storage id -> root
  std::unordered_set<int32_t> joined_;  // roots that lie within another one, or hold it
};

void GraphReader::ReadHeader() {
  if (json_.schema != 1) {
    Fail("tvmake.schema is ", json_.schema, ", this runtime reads 1 (compiler and runtime differ)");
  }
  const int64_t alignment = json_.alignment;
  if (alignment < 1 || alignment > 4096 || (alignment & (alignment - 1)) != 0) {
    Fail("tvmake.alignment is ", alignment, ", expected a power of two up to 4096");
  }
  if (json_.arena_bytes < 0 || static_cast<uint64_t>(json_.arena_bytes) > SIZE_MAX / 2) {
    Fail("tvmake.arena_bytes is ", json_.arena_bytes);
  }
  graph_.alignment = static_cast<size_t>(alignment);
  graph_.arena_bytes = static_cast<size_t>(json_.arena_bytes);
  graph_.weights_id = json_.weights_id;
}

// node_row_ptr must be the running sum of the nodes' output counts, and each list of the entries'
// attributes must be as long as the last sum.
void GraphReader::CheckRows() {
  const size_t num_nodes = json_.nodes.size();
  if (json_.node_row_ptr.size() != num_nodes + 1 || json_.node_row_ptr[0] != 0) {
    Fail("node_row_ptr has ", json_.node_row_ptr.size(), " items for ", num_nodes, " nodes");
  }
  for (size_t i = 0; i < num_nodes; ++i) {
    const JsonNode& node = json_.nodes[i];
    if (json_.node_row_ptr[i + 1] != json_.node_row_ptr[i] + node.num_outputs) {
      Fail(NodeText(node, i), " has ", node.num_outputs, " outputs, node_row_ptr says otherwise");
    }
  }
  const auto entries = static_cast<size_t>(json_.node_row_ptr.back());
  const auto check = [&](std::string_view name, size_t size) {
    if (size != entries) Fail("attrs.", name, " has ", size, " items for ", entries, " tensors");
  };
  check("dltype", json_.dtypes.size());
  check("shape", json_.shape_begin.size() - 1);
  check("storage_id", json_.storage_ids.size());
  check("device_index", json_.device_types.size());
  check("byte_offset", json_.byte_offsets.size());
}

std::string GraphReader::EntryText(size_t entry) const {
  const auto& rows = json_.node_row_ptr;
  const auto next = std::upper_bound(rows.begin(), rows.end(), static_cast<int64_t>(entry));
  const auto node = static_cast<size_t>(next - rows.begin() - 1);
  return Cat("output ", entry - static_cast<size_t>(rows[node]), " of ",
             NodeText(json_.nodes[node], node));
}

void GraphReader::ReadTensors() {
  const size_t entries = json_.dtypes.size();
  graph_.tensors.reserve(entries);
  for (size_t entry = 0; entry < entries; ++entry) graph_.tensors.push_back(ReadTensor(entry));
}

GraphTensor GraphReader::ReadTensor(size_t entry) const {
  if (json_.device_types[entry] != kDLCPU) {
    Fail(EntryText(entry), " is on device type ", json_.device_types[entry], ", expected 1 (CPU)");
  }
  const uint32_t begin = json_.shape_begin[entry];
  return {.dtype = json_.dtypes[entry],
          .ndim = static_cast<int32_t>(json_.shape_begin[entry + 1] - begin),
          .shape_begin = begin,
          .bytes = TensorBytes(entry),
          .byte_offset = json_.byte_offsets[entry],
          .root = static_cast<int32_t>(entry),
          .next_view = -1};
}

size_t GraphReader::TensorBytes(size_t entry) const {
  const DLDataType dtype = json_.dtypes[entry];
  // The product of the non-zero extents must be representable too: kernels compute strides.
  int64_t bits = int64_t{dtype.bits} * dtype.lanes;
  bool empty = false;
  for (uint32_t i = json_.shape_begin[entry]; i < json_.shape_begin[entry + 1]; ++i) {
    const int64_t extent = json_.dims[i];
    if (json_.is_dynamic && extent == kUnbounded) return 0;
    if (extent < 0) Fail(EntryText(entry), " has a dimension of ", extent);
    empty |= extent == 0;
    if (extent != 0 && __builtin_mul_overflow(bits, extent, &bits)) {
      Fail(EntryText(entry), " is too large for this address space");
    }
  }
  const int64_t bytes = empty ? 0 : bits / 8 + (bits % 8 != 0);
  if (static_cast<uint64_t>(bytes) > SIZE_MAX / 2) {
    Fail(EntryText(entry), " is too large for this address space");
  }
  return static_cast<size_t>(bytes);
}

// Checks that a tensor lies in the arena, aligned.
void GraphReader::PlaceTensor(size_t entry) {
  const GraphTensor& tensor = graph_.tensors[entry];
  if (json_.is_dynamic && tensor.byte_offset == kPooled) return;
  const auto offset = static_cast<uint64_t>(tensor.byte_offset);
  if (tensor.byte_offset < 0 || offset % graph_.alignment != 0) {
    Fail(EntryText(entry), " has byte_offset ", tensor.byte_offset, ", expected a multiple of ",
         graph_.alignment);
  }
  if (offset > graph_.arena_bytes || tensor.bytes > graph_.arena_bytes - offset) {
    Fail(EntryText(entry), " of ", tensor.bytes, " bytes at offset ", tensor.byte_offset,
         " is outside the arena of ", graph_.arena_bytes, " bytes");
  }
}

// Claims the entry's storage id, which nothing but views of it may then have.
void GraphReader::OwnStorage(size_t entry) {
  const auto root = static_cast<int32_t>(entry);
  if (graph_.tensors[entry].byte_offset == kPooled) return;  // may be shared
  const auto [owner, is_new] = storage_owner_.emplace(json_.storage_ids[entry], root);
  if (!is_new) {
    Fail(EntryText(entry), " has the storage_id of ", EntryText(static_cast<size_t>(owner->second)),
         ", but is no view of it");
  }
}

// Every node without a function is either an input or a weight.
void GraphReader::ReadArguments() {
  std::vector<int64_t> expected;
  for (size_t i = 0; i < json_.nodes.size(); ++i) {
    const JsonNode& node = json_.nodes[i];
    if (node.is_call) continue;
    if (!node.inputs.empty() || node.num_outputs != 1) Fail(NodeText(node, i), " is not op 'null'");
    expected.push_back(static_cast<int64_t>(i));
  }
  std::vector<int64_t> listed = json_.inputs;
  listed.insert(listed.end(), json_.params.begin(), json_.params.end());
  std::sort(listed.begin(), listed.end());
  std::sort(json_.arg_nodes.begin(), json_.arg_nodes.end());
  if (listed != expected || json_.arg_nodes != expected) {
    Fail("arg_nodes, and tvmake.inputs with tvmake.params, must list each node of op 'null' once");
  }
  ReadPorts(json_.inputs, /*weights=*/false, &graph_.inputs);
  ReadPorts(json_.params, /*weights=*/true, &graph_.params);
  if (!graph_.params.empty() && graph_.weights_id.size() != 64) {
    Fail("tvmake.weights_id has ", graph_.weights_id.size(), " characters, expected 64");
  }
}

void GraphReader::ReadPorts(const std::vector<int64_t>& nodes, bool weights,
                            std::vector<GraphPort>* ports) {
  for (const int64_t index : nodes) {
    const auto node = static_cast<size_t>(index);
    const auto entry = static_cast<size_t>(json_.node_row_ptr[node]);
    const GraphTensor& tensor = graph_.tensors[entry];
    if (!weights) {
      PlaceTensor(entry);
    } else if (tensor.byte_offset != -1) {
      Fail("weight ", Quoted(json_.nodes[node].name), " has byte_offset ", tensor.byte_offset,
           ", expected -1");
    }
    OwnStorage(entry);
    ports->push_back({json_.nodes[node].name, static_cast<int32_t>(entry)});
  }
}

void GraphReader::ReadCalls() {
  for (size_t i = 0; i < json_.nodes.size(); ++i) {
    const JsonNode& node = json_.nodes[i];
    if (!node.is_call) continue;
    if (static_cast<size_t>(node.num_inputs) != node.inputs.size()) {
      Fail(NodeText(node, i), " has ", node.inputs.size(), " inputs, num_inputs says ",
           node.num_inputs);
    }
    if (node.func_name == kBindFunction && json_.is_dynamic) {
      ReadBind(node, i);
    } else if (node.func_name == kRepeatFunction && json_.is_dynamic) {
      ReadRepeat(node, i);
    } else if (node.func_name == kViewFunction) {
      ReadView(node, i);
    } else if (node.func_name == kPartFunction && !json_.is_dynamic) {
      ReadPart(node, i);
    } else if (node.func_name == kJoinFunction && !json_.is_dynamic) {
      ReadJoin(node, i);
    } else {
      ReadCall(node, i);
    }
  }
}

// The tensor that `ref` means, which must be a result of a node before `limit`.
int32_t GraphReader::Resolve(const EntryRef& ref, size_t limit, std::string_view user) const {
  if (ref.node < 0 || static_cast<uint64_t>(ref.node) >= limit) {
    Fail(user, " refers to node ", ref.node, ", expected one of the ", limit, " before it");
  }
  const JsonNode& node = json_.nodes[static_cast<size_t>(ref.node)];
  if (ref.index < 0 || ref.index >= node.num_outputs - node.num_workspaces) {
    Fail(user, " refers to output ", ref.index, " of ",
         NodeText(node, static_cast<size_t>(ref.node)), ", which has ",
         node.num_outputs - node.num_workspaces);
  }
  return static_cast<int32_t>(json_.node_row_ptr[static_cast<size_t>(ref.node)] + ref.index);
}

void GraphReader::ReadCall(const JsonNode& node, size_t index) {
  const auto kernel = kernels_.find(node.func_name);
  if (kernel == kernels_.end() || kernel->second == nullptr) {
    Fail(NodeText(node, index), " calls ", Quoted(node.func_name), ", which is not among the ",
         kernels_.size(), " kernels of this library");
  }
  if (node.num_workspaces > node.num_outputs) Fail(NodeText(node, index), " lacks its workspaces");
  const auto first = static_cast<uint32_t>(json_.node_row_ptr[index]);
  const auto results = static_cast<uint32_t>(node.num_outputs);
  const auto args_begin = static_cast<uint32_t>(graph_.args.size());
  for (const EntryRef& ref : node.inputs) {
    graph_.args.push_back(Resolve(ref, index, NodeText(node, index)));
  }
  for (const auto& scalar : json_.scalars) {
    if (scalar[0] == static_cast<int64_t>(index)) graph_.args.push_back(kScalar);
  }
  for (uint32_t entry = first; entry < first + results; ++entry) {
    PlaceTensor(entry);
    OwnStorage(entry);
    graph_.args.push_back(static_cast<int32_t>(entry));
  }
  graph_.calls.push_back({.name = node.name,
                          .function = kernel->second,
                          .args_begin = args_begin,
                          .num_args = static_cast<uint32_t>(graph_.args.size()) - args_begin,
                          .outputs_begin = first,
                          .num_outputs = results - static_cast<uint32_t>(node.num_workspaces)});
}

// Its one argument holds an int64 for each symbol.
void GraphReader::ReadBind(const JsonNode& node, size_t index) {
  if (node.inputs.size() != 1 || node.num_outputs != 0) {
    Fail(NodeText(node, index), " binds symbols, expected one input and no output");
  }
  const int32_t source = Resolve(node.inputs[0], index, NodeText(node, index));
  const DLDataType dtype = TensorOf(source).dtype;
  if (dtype.code != kDLInt || dtype.bits != 64 || dtype.lanes != 1) {
    Fail(NodeText(node, index), " binds symbols to a tensor of ", DTypeText(dtype),
         ", expected int64");
  }
  ReadControl(node, source);
}

// Its one argument says whether there is another turn.
void GraphReader::ReadRepeat(const JsonNode& node, size_t index) {
  if (node.inputs.size() != 1 || node.num_outputs != 0) {
    Fail(NodeText(node, index), " repeats calls, expected one input and no output");
  }
  const int32_t source = Resolve(node.inputs[0], index, NodeText(node, index));
  if (TensorOf(source).bytes != 1) {
    Fail(NodeText(node, index), " repeats calls by a tensor of ", TensorOf(source).bytes,
         " bytes, expected one bool");
  }
  ReadControl(node, source);
}

// A call of no kernel, with one argument.
void GraphReader::ReadControl(const JsonNode& node, int32_t source) {
  const auto args_begin = static_cast<uint32_t>(graph_.args.size());
  graph_.args.push_back(source);
  graph_.calls.push_back({.name = node.name,
                          .function = nullptr,
                          .args_begin = args_begin,
                          .num_args = 1,
                          .outputs_begin = static_cast<uint32_t>(source),
                          .num_outputs = 0});
}

void GraphReader::ReadView(const JsonNode& node, size_t index) {
  if (node.inputs.size() != 1 || node.num_outputs != 1 || node.num_workspaces != 0) {
    Fail(NodeText(node, index), " is a view, expected one input and one output");
  }
  const int32_t source = Resolve(node.inputs[0], index, NodeText(node, index));
  const auto entry = static_cast<int32_t>(json_.node_row_ptr[index]);
  GraphTensor& view = TensorOf(entry);
  const int32_t root = TensorOf(source).root;
  const auto storage = [&](int32_t e) { return json_.storage_ids[static_cast<size_t>(e)]; };
  // The sizes of dynamic ones are compared when they are known.
  const bool same_size = json_.is_dynamic || view.bytes == TensorOf(source).bytes;
  if (!same_size || view.byte_offset != TensorOf(source).byte_offset ||
      storage(entry) != storage(root)) {
    Fail(NodeText(node, index), " is a view, expected size, offset and storage_id of its source");
  }
  ChainView(entry, root);
}

void GraphReader::ChainView(int32_t entry, int32_t root) {
  TensorOf(entry).root = root;
  TensorOf(entry).next_view = std::exchange(TensorOf(root).next_view, entry);
}

// A view of some bytes of its source.
void GraphReader::ReadPart(const JsonNode& node, size_t index) {
  if (node.inputs.size() != 1 || node.num_outputs != 1 || node.num_workspaces != 0) {
    Fail(NodeText(node, index), " is a part, expected one input and one output");
  }
  const GraphTensor& source = TensorOf(Resolve(node.inputs[0], index, NodeText(node, index)));
  const auto entry = static_cast<int32_t>(json_.node_row_ptr[index]);
  const GraphTensor& part = TensorOf(entry);
  if (source.byte_offset < 0) Fail(NodeText(node, index), " is a part of a weight");
  PlaceTensor(static_cast<size_t>(entry));
  const int64_t begin = part.byte_offset - source.byte_offset;
  const bool is_inside = begin >= 0 && part.bytes <= source.bytes &&
                         static_cast<uint64_t>(begin) <= source.bytes - part.bytes;
  if (!is_inside || json_.storage_ids[static_cast<size_t>(entry)] !=
                        json_.storage_ids[static_cast<size_t>(source.root)]) {
    Fail(NodeText(node, index), " is a part, expected bytes and storage_id of its source");
  }
  ChainView(entry, source.root);
}

// A tensor whose memory is that of its inputs, one after the other.
void GraphReader::ReadJoin(const JsonNode& node, size_t index) {
  if (node.inputs.empty() || node.num_outputs != 1 || node.num_workspaces != 0) {
    Fail(NodeText(node, index), " joins tensors, expected inputs and one output");
  }
  const auto entry = static_cast<size_t>(json_.node_row_ptr[index]);
  PlaceTensor(entry);
  OwnStorage(entry);
  const GraphTensor& result = graph_.tensors[entry];
  uint64_t end = static_cast<uint64_t>(result.byte_offset);
  joined_.insert(static_cast<int32_t>(entry));
  for (const EntryRef& ref : node.inputs) {
    const GraphTensor& input = TensorOf(Resolve(ref, index, NodeText(node, index)));
    if (input.byte_offset < 0 || static_cast<uint64_t>(input.byte_offset) != end) {
      Fail(NodeText(node, index), " joins tensors that are not neighbours in the arena");
    }
    end += input.bytes;
    joined_.insert(input.root);
  }
  if (end - static_cast<uint64_t>(result.byte_offset) != result.bytes) {
    Fail(NodeText(node, index), " of ", result.bytes, " bytes joins tensors of ",
         end - static_cast<uint64_t>(result.byte_offset));
  }
  for (const GraphPort& input : graph_.inputs) RefuseJoined(input);
}

// The caller may bind its own memory to an input or output, which then lies nowhere else.
void GraphReader::RefuseJoined(const GraphPort& port) const {
  if (joined_.count(TensorOf(port.tensor).root) != 0) {
    Fail(Quoted(port.name), " is joined with other tensors: expected memory of its own");
  }
}

void GraphReader::ReadOutputs() {
  if (json_.heads.size() != json_.outputs.size()) {
    Fail("heads has ", json_.heads.size(), " items, tvmake.outputs ", json_.outputs.size());
  }
  std::vector<int32_t> taken;  // roots that an output may not share
  for (const GraphPort& input : graph_.inputs) taken.push_back(input.tensor);
  for (size_t i = 0; i < json_.heads.size(); ++i) {
    const std::string what = Cat("output ", Quoted(json_.outputs[i]));
    const int32_t entry = Resolve(json_.heads[i], json_.nodes.size(), what);
    const GraphTensor& tensor = TensorOf(entry);
    if (tensor.byte_offset == kWeight || std::count(taken.begin(), taken.end(), tensor.root) != 0) {
      Fail(what, " is an input, a weight or another output: expected memory of its own");
    }
    if (!json_.is_dynamic && tensor.bytes != TensorOf(tensor.root).bytes) {
      Fail(what, " is a part of another tensor: expected memory of its own");
    }
    taken.push_back(tensor.root);
    graph_.outputs.push_back({std::move(json_.outputs[i]), entry});
    RefuseJoined(graph_.outputs.back());
  }
}

// Inputs and outputs must keep their content until the next run.
void GraphReader::CheckOverlap() const {
  const auto overlap = [](const GraphTensor& a, const GraphTensor& b) {
    return a.bytes != 0 && b.bytes != 0 &&
           a.byte_offset < b.byte_offset + static_cast<int64_t>(b.bytes) &&
           b.byte_offset < a.byte_offset + static_cast<int64_t>(a.bytes);
  };
  const auto check = [&](const GraphPort& port, int32_t other) {
    if (TensorOf(port.tensor).root == TensorOf(other).root || TensorOf(other).byte_offset < 0 ||
        TensorOf(port.tensor).byte_offset < 0)
      return;
    if (overlap(TensorOf(port.tensor), TensorOf(other))) {
      Fail(Quoted(port.name), " shares memory with ", EntryText(static_cast<size_t>(other)));
    }
  };
  for (const GraphPort& input : graph_.inputs) {
    for (size_t i = 0; i < graph_.tensors.size(); ++i) check(input, static_cast<int32_t>(i));
  }
  for (const GraphPort& output : graph_.outputs) {
    for (const GraphPort& other : graph_.outputs) check(output, other.tensor);
  }
}

}  // namespace

Graph ReadGraph(std::string_view json, std::span<const Kernel> kernels) {
  return GraphReader(ReadGraphJson(json), kernels).Read();
}

}  // namespace tvmake
