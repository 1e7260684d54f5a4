// Writes graph JSON, weights and model definitions for tests, by hand and without the compiler.
#ifndef TVMAKE_TESTS_MODEL_BUILDER_H_
#define TVMAKE_TESTS_MODEL_BUILDER_H_

#include <tvm/ffi/c_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tvmake/executor.h"

namespace tvmake::test {

// A tensor of a test model: float32 unless said otherwise.
struct TestTensor {
  std::vector<int64_t> shape;
  int64_t offset;  // in the arena; -1: a weight
  int64_t storage_id;
  std::string dtype = "float32";
};

class ModelBuilder {
 public:
  // Each returns the node's index.
  int Input(const std::string& name, const TestTensor& tensor);
  int Param(const std::string& name, const TestTensor& tensor, const std::vector<float>& values);
  int Call(const std::string& name, const std::string& kernel, const std::vector<int>& inputs,
           const std::vector<TestTensor>& outputs, int num_workspaces = 0);
  int View(const std::string& name, int input, const TestTensor& tensor);
  void Output(const std::string& name, int node, int index = 0);
  void AddKernel(const char* name, TVMFFISafeCallType function);

  void set_arena_bytes(int64_t bytes) { arena_bytes_ = bytes; }
  void set_weights_id(char digit) { weights_id_ = digit; }

  std::string GraphJson() const;
  std::vector<std::byte> WeightsBin() const;

 private:
  struct Param_ {
    int node;
    TestTensor tensor;
    std::vector<float> values;
  };
  int AddNode(const std::string& json, const std::vector<TestTensor>& outputs, bool argument);

  std::vector<std::string> nodes_;
  std::vector<int> args_;
  std::vector<int> inputs_;
  std::vector<Param_> params_;
  std::vector<int> rows_{0};
  std::vector<TestTensor> tensors_;
  std::vector<std::string> heads_;
  std::vector<std::string> outputs_;
  std::vector<Kernel> kernels_;
  int64_t arena_bytes_ = 4096;
  char weights_id_ = 'a';

  friend class TestModel;
};

// A definition with the storage behind it.
class TestModel {
 public:
  explicit TestModel(const ModelBuilder& builder);
  TestModel(const TestModel&) = delete;
  TestModel& operator=(const TestModel&) = delete;

  ModelDefinition definition;  // of embedded weights; to be varied by tests
  std::string json;

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };
  std::vector<Kernel> kernels_;
  std::unique_ptr<std::byte[], Free> weights_;
};

// Kernels over float tensors. Each checks its arguments as a compiled kernel would.
namespace kernels {
int Add(void*, const TVMFFIAny* args, int32_t n, TVMFFIAny*);      // c = a + b
int Scale(void*, const TVMFFIAny* args, int32_t n, TVMFFIAny*);    // b = 2 a
int Scratch(void*, const TVMFFIAny* args, int32_t n, TVMFFIAny*);  // b = a + 1 through a workspace
int Broken(void*, const TVMFFIAny* args, int32_t n, TVMFFIAny*);   // raises "out of cheese"
}  // namespace kernels

// x, w -> add -> view -> scale (in place of the sum) -> scratch -> y. y = 2 (x + w) + 1, w = i.
// Sixteen elements: x and y are [4, 4], the view [16].
ModelBuilder SmallModel();

// y = 4 x with the halves of x exchanged: x [32] has two parts, each is scaled, and they are joined
// the other way round.
ModelBuilder PartsModel();

}  // namespace tvmake::test

#endif  // TVMAKE_TESTS_MODEL_BUILDER_H_
