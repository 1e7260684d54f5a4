#include "model_builder.h"

#include <cstdlib>
#include <cstring>

namespace tvmake::test {
namespace {

template <typename Items, typename ToText>
std::string List(const Items& items, ToText&& to_text) {
  std::string text = "[";
  for (const auto& item : items) {
    if (text.size() > 1) text += ",";
    text += to_text(item);
  }
  return text + "]";
}

template <typename Number>
std::string Numbers(const std::vector<Number>& items) {
  return List(items, [](Number n) { return std::to_string(n); });
}

std::string Text(const std::string& text) { return "\"" + text + "\""; }

template <typename T>
void Write(std::vector<std::byte>& blob, size_t at, T value) {
  std::memcpy(blob.data() + at, &value, sizeof(T));
}

size_t RoundUp(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

int ModelBuilder::AddNode(const std::string& json, const std::vector<TestTensor>& outputs,
                          bool argument) {
  const int node = static_cast<int>(nodes_.size());
  nodes_.push_back(json);
  tensors_.insert(tensors_.end(), outputs.begin(), outputs.end());
  rows_.push_back(static_cast<int>(tensors_.size()));
  if (argument) args_.push_back(node);
  return node;
}

int ModelBuilder::Input(const std::string& name, const TestTensor& tensor) {
  inputs_.push_back(
      AddNode("{\"op\":\"null\",\"name\":" + Text(name) + ",\"inputs\":[]}", {tensor}, true));
  return inputs_.back();
}

int ModelBuilder::Param(const std::string& name, const TestTensor& tensor,
                        const std::vector<float>& values) {
  const int node =
      AddNode("{\"op\":\"null\",\"name\":" + Text(name) + ",\"inputs\":[]}", {tensor}, true);
  params_.push_back({node, tensor, values});
  return node;
}

int ModelBuilder::Call(const std::string& name, const std::string& kernel,
                       const std::vector<int>& inputs, const std::vector<TestTensor>& outputs,
                       int num_workspaces) {
  const std::string refs =
      List(inputs, [](int node) { return "[" + std::to_string(node) + ",0,0]"; });
  return AddNode("{\"op\":\"tvm_op\",\"name\":" + Text(name) + ",\"attrs\":{\"func_name\":" +
                     Text(kernel) + ",\"num_inputs\":" + Text(std::to_string(inputs.size())) +
                     ",\"num_outputs\":" + Text(std::to_string(outputs.size())) +
                     ",\"num_workspaces\":" + Text(std::to_string(num_workspaces)) +
                     ",\"flatten_data\":\"0\"},\"inputs\":" + refs + "}",
                 outputs, false);
}

int ModelBuilder::View(const std::string& name, int input, const TestTensor& tensor) {
  return Call(name, "__nop", {input}, {tensor});
}

void ModelBuilder::Output(const std::string& name, int node, int index) {
  heads_.push_back("[" + std::to_string(node) + "," + std::to_string(index) + ",0]");
  outputs_.push_back(name);
}

void ModelBuilder::AddKernel(const char* name, TVMFFISafeCallType function) {
  kernels_.push_back({name, function});
}

std::string ModelBuilder::GraphJson() const {
  const auto attr = [&](const char* type, auto&& item) {
    return "[\"" + std::string(type) + "\"," + List(tensors_, item) + "]";
  };
  std::vector<int> params;
  for (const Param_& param : params_) params.push_back(param.node);
  return "{\"nodes\":" + List(nodes_, [](const std::string& n) { return n; }) +
         ",\"arg_nodes\":" + Numbers(args_) +
         ",\"heads\":" + List(heads_, [](const std::string& h) { return h; }) +
         ",\"node_row_ptr\":" + Numbers(rows_) + ",\"attrs\":{\"dltype\":" +
         attr("list_str", [](const TestTensor& t) { return Text(t.dtype); }) +
         ",\"shape\":" + attr("list_shape", [](const TestTensor& t) { return Numbers(t.shape); }) +
         ",\"storage_id\":" +
         attr("list_int", [](const TestTensor& t) { return std::to_string(t.storage_id); }) +
         ",\"device_index\":" + attr("list_int", [](const TestTensor&) { return "1"; }) +
         ",\"byte_offset\":" +
         attr("list_int", [](const TestTensor& t) { return std::to_string(t.offset); }) +
         "},\"tvmake\":{\"schema\":1,\"arena_bytes\":" + std::to_string(arena_bytes_) +
         ",\"alignment\":64,\"weights_id\":" + Text(std::string(64, weights_id_)) +
         ",\"inputs\":" + Numbers(inputs_) + ",\"outputs\":" + List(outputs_, Text) +
         ",\"params\":" + Numbers(params) + "}}";
}

std::vector<std::byte> ModelBuilder::WeightsBin() const {
  const size_t data_start = RoundUp(64 + 24 * params_.size());
  size_t size = data_start;
  for (const Param_& param : params_) size += RoundUp(param.values.size() * sizeof(float));
  std::vector<std::byte> blob(size);
  std::memcpy(blob.data(), "TVMAKEW1", 8);
  Write(blob, 8, static_cast<uint32_t>(data_start));
  Write(blob, 12, static_cast<uint32_t>(params_.size()));
  Write(blob, 16, static_cast<uint64_t>(size));
  const int digit = weights_id_ <= '9' ? weights_id_ - '0' : weights_id_ - 'a' + 10;
  std::memset(blob.data() + 24, digit * 17, 32);
  Write(blob, 56, uint32_t{64});
  size_t at = data_start;
  for (size_t i = 0; i < params_.size(); ++i) {
    const size_t bytes = params_[i].values.size() * sizeof(float);
    const size_t row = 64 + 24 * i;
    Write(blob, row, static_cast<uint64_t>(at));
    Write(blob, row + 8, static_cast<uint64_t>(bytes));
    Write(blob, row + 16, DLDataType{kDLFloat, 32, 1});
    Write(blob, row + 20, static_cast<uint32_t>(params_[i].tensor.shape.size()));
    if (bytes != 0) std::memcpy(blob.data() + at, params_[i].values.data(), bytes);
    at += RoundUp(bytes);
  }
  return blob;
}

void TestModel::Free::operator()(std::byte* data) const { std::free(data); }

TestModel::TestModel(const ModelBuilder& builder)
    : json(builder.GraphJson()), kernels_(builder.kernels_) {
  const std::vector<std::byte> blob = builder.WeightsBin();
  weights_.reset(static_cast<std::byte*>(std::aligned_alloc(64, blob.size())));
  std::memcpy(weights_.get(), blob.data(), blob.size());
  definition = {.name = "small",
                .graph_json = json,
                .weights = {weights_.get(), blob.size()},
                .weights_file = "small.weights.bin",
                .kernels = kernels_,
                .required_cpu_features = {},
                .triple = "test-triple",
                .cpu = "test-cpu",
                .bind_backend = [] {}};
}

namespace kernels {
namespace {

// The float tensors of a call, checked to be equally large.
bool Tensors(const TVMFFIAny* args, int32_t n, int32_t expected, DLTensor** tensors,
             int64_t* size) {
  if (n != expected) return false;
  for (int32_t i = 0; i < n; ++i) {
    if (args[i].type_index != kTVMFFIDLTensorPtr) return false;
    const auto* tensor = tensors[i] = static_cast<DLTensor*>(args[i].v_ptr);
    int64_t elements = 1;
    for (int32_t d = 0; d < tensor->ndim; ++d) elements *= tensor->shape[d];
    if (tensor->dtype.code != kDLFloat || tensor->dtype.bits != 32 || tensor->dtype.lanes != 1 ||
        (i > 0 && elements != *size) || reinterpret_cast<uintptr_t>(tensor->data) % 64 != 0) {
      return false;
    }
    *size = elements;
  }
  return true;
}

int Raise(const char* message) {
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", message);
  return -1;
}

float* Data(const DLTensor* tensor) { return static_cast<float*>(tensor->data); }

}  // namespace

int Add(void*, const TVMFFIAny* args, int32_t n, TVMFFIAny*) {
  DLTensor* t[3];
  int64_t size = 0;
  if (!Tensors(args, n, 3, t, &size)) return Raise("add: bad arguments");
  for (int64_t i = 0; i < size; ++i) Data(t[2])[i] = Data(t[0])[i] + Data(t[1])[i];
  return 0;
}

int Scale(void*, const TVMFFIAny* args, int32_t n, TVMFFIAny*) {
  DLTensor* t[2];
  int64_t size = 0;
  if (!Tensors(args, n, 2, t, &size)) return Raise("scale: bad arguments");
  for (int64_t i = 0; i < size; ++i) Data(t[1])[i] = 2 * Data(t[0])[i];
  return 0;
}

int Scratch(void*, const TVMFFIAny* args, int32_t n, TVMFFIAny*) {
  DLTensor* t[3];
  int64_t size = 0;
  if (!Tensors(args, n, 3, t, &size)) return Raise("scratch: bad arguments");
  for (int64_t i = 0; i < size; ++i) Data(t[2])[i] = Data(t[0])[i] + 1;
  for (int64_t i = 0; i < size; ++i) Data(t[1])[i] = Data(t[2])[i];
  return 0;
}

int Broken(void*, const TVMFFIAny*, int32_t, TVMFFIAny*) { return Raise("out of cheese"); }

}  // namespace kernels

ModelBuilder PartsModel() {
  ModelBuilder builder;
  builder.AddKernel("scale", kernels::Scale);
  const int x = builder.Input("x", {{32}, 0, 0});
  const int first = builder.Call("first", "__part", {x}, {{{16}, 0, 0}});
  const int second = builder.Call("second", "__part", {x}, {{{16}, 64, 0}});
  const int a = builder.Call("a", "scale", {second}, {{{16}, 128, 1}});
  const int b = builder.Call("b", "scale", {first}, {{{16}, 192, 2}});
  const int joined = builder.Call("joined", "__join", {a, b}, {{{32}, 128, 3}});
  builder.Output("y", builder.Call("y", "scale", {joined}, {{{32}, 256, 4}}));
  builder.set_arena_bytes(384);
  return builder;
}

ModelBuilder SmallModel() {
  ModelBuilder builder;
  builder.AddKernel("add", kernels::Add);
  builder.AddKernel("scale", kernels::Scale);
  builder.AddKernel("scratch", kernels::Scratch);
  std::vector<float> weights(16);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i);
  const int x = builder.Input("x", {{4, 4}, 0, 0});
  const int w = builder.Param("w", {{4, 4}, -1, 1}, weights);
  const int sum = builder.Call("sum", "add", {x, w}, {{{4, 4}, 64, 2}});
  const int flat = builder.View("flat", sum, {{16}, 64, 2});
  const int twice = builder.Call("twice", "scale", {flat}, {{{16}, 64, 3}});
  const int y = builder.Call("more", "scratch", {twice}, {{{16}, 128, 4}, {{16}, 192, 5}}, 1);
  builder.Output("y", builder.View("square", y, {{4, 4}, 128, 4}));
  builder.set_arena_bytes(256);
  return builder;
}

}  // namespace tvmake::test
