// Weights: embedded, in a file, replaced, shared; and everything that can be wrong with them.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "check.h"
#include "model_builder.h"
#include "tvmake/executor.h"

namespace tvmake::test {
namespace {

using Blob = std::vector<std::byte>;

// A file that goes away at the end of the test.
class TempFile {
 public:
  TempFile(std::string path, const Blob& blob) : path_(std::move(path)) {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(blob.data()),
               static_cast<std::streamsize>(blob.size()));
  }
  ~TempFile() { std::remove(path_.c_str()); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string ProgramFolder() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  CHECK(size > 0);
  const std::string text(path, static_cast<size_t>(size));
  return text.substr(0, text.rfind('/'));
}

// y[1] for x = 0: 2 w[1] + 1.
float Result(Executor& executor) {
  const float x[16] = {};
  executor.SetInput(0, x, sizeof(x));
  executor.Run();
  return static_cast<const float*>(executor.GetOutput(0).data)[1];
}

template <typename T>
Blob With(Blob blob, size_t at, T value) {
  std::memcpy(blob.data() + at, &value, sizeof(T));
  return blob;
}

// The small model's weights with w[1] = `value`, and another id.
Blob OtherWeights(float value) {
  ModelBuilder builder = SmallModel();
  builder.set_weights_id('b');
  const Blob blob = builder.WeightsBin();
  return With(blob, 128 + sizeof(float), value);
}

void TestFile() {
  TestModel model(SmallModel());
  const Blob blob = SmallModel().WeightsBin();
  model.definition.weights = {};
  const std::string beside = ProgramFolder() + "/small.weights.bin";
  CHECK_THROWS(kWeights, "weights file not found, tried '" + beside + "'; put it there",
               Executor::Create(model.definition));
  const TempFile file(beside, blob);
  CHECK(Result(*Executor::Create(model.definition)) == 3);

  const TempFile elsewhere("weights_test_elsewhere.bin", blob);
  const auto executor = Executor::Create(model.definition, {.weights_path = elsewhere.path()});
  CHECK(Result(*executor) == 3);
  CHECK_THROWS(kIo, "cannot open '/no/such/file': No such file",
               Executor::Create(model.definition, {.weights_path = "/no/such/file"}));
  CHECK_THROWS(kIo, "not a regular file",
               Executor::Create(model.definition, {.weights_path = "/"}));
  model.definition.weights_file = nullptr;
  CHECK_THROWS(kWeights, "give weights_path", Executor::Create(model.definition));
  const TestModel embedded(SmallModel());
  CHECK_THROWS(kInvalidArgument, "the weights are embedded",
               Executor::Create(embedded.definition, {.weights_path = elsewhere.path()}));
}

void TestDamage() {
  TestModel model(SmallModel());
  model.definition.weights = {};
  const Blob good = SmallModel().WeightsBin();
  const auto reject = [&](const Blob& blob, const char* part) {
    const TempFile file("weights_test_damaged.bin", blob);
    CHECK_THROWS(kWeights, part, Executor::Create(model.definition, {.weights_path = file.path()}));
    const TestModel embedded(SmallModel());
    const auto executor = Executor::Create(embedded.definition);
    // LoadParams accepts other ids, and nothing else.
    if (std::string_view(part) != "another version") {
      CHECK_THROWS(kWeights, part, executor->LoadParams(blob));
    }
    CHECK(Result(*executor) == 3);
  };
  for (size_t size = 0; size < good.size(); size += 13) {
    reject(Blob(good.begin(), good.begin() + static_cast<ptrdiff_t>(size)),
           size < 64 ? "not a tvmake weights file" : "truncated");
  }
  Blob longer = good;
  longer.resize(good.size() + 64);
  reject(longer, "truncated or damaged");
  reject(With(good, 0, 'X'), "not a tvmake weights file");
  reject(With(good, 8, UINT32_MAX), "header is damaged");
  reject(With(good, 8, uint32_t{63}), "header is damaged");
  reject(With(good, 12, UINT32_MAX), "header is damaged");
  reject(With(good, 12, uint32_t{0}), "has 0 tensors, the model has 1");
  reject(With(good, 56, uint32_t{0}), "is not aligned to 0");
  reject(With(good, 56, uint32_t{48}), "is not aligned to 48");
  reject(With(good, 64, uint64_t{0}), "is outside the data");
  reject(With(good, 64, UINT64_MAX), "is outside the data");
  reject(With(good, 64, uint64_t{129}), "is outside the data");
  reject(With(good, 72, UINT64_MAX), "is outside the data");
  reject(With(good, 72, uint64_t{32}), "another model");
  reject(With(good, 80, uint8_t{kDLInt}), "tensor 0 is int32 of rank 2");
  reject(With(good, 84, uint32_t{1}),
         "of rank 1 and 64 bytes, the model's 'w' is float32 of rank 2");
  reject(OtherWeights(5), "another version");
}

void TestLoadAndShare() {
  const TestModel model(SmallModel());
  const auto a = Executor::Create(model.definition);
  const auto b = a->Clone();
  CHECK(Result(*a) == 3 && Result(*b) == 3);

  // Each clone has its own bindings and arena, and loading into one leaves the other alone.
  {
    Blob blob = OtherWeights(10);
    a->LoadParams(blob);
    std::fill(blob.begin(), blob.end(), std::byte{0xFF});
  }
  CHECK(Result(*a) == 21 && Result(*b) == 3);

  b->ShareParams(*a);
  CHECK(Result(*b) == 21);
  a->LoadParams(OtherWeights(20));
  CHECK(Result(*a) == 41 && Result(*b) == 21);
  CHECK(Result(*a->Clone()) == 41);

  ModelBuilder other_builder = SmallModel();
  other_builder.set_weights_id('c');
  const TestModel other(other_builder);
  CHECK_THROWS(kWeights, "expected an executor of the same model",
               b->ShareParams(*Executor::Create(other.definition)));
  CHECK(Result(*b) == 21);
}

// Weights stay mapped as long as anyone uses them.
void TestLifetime() {
  TestModel model(SmallModel());
  model.definition.weights = {};
  std::unique_ptr<Executor> clone;
  {
    const TempFile file("weights_test_lifetime.bin", SmallModel().WeightsBin());
    clone = Executor::Create(model.definition, {.weights_path = file.path()})->Clone();
  }
  CHECK(Result(*clone) == 3);
}

void TestNoWeights() {
  ModelBuilder builder;
  builder.AddKernel("scale", kernels::Scale);
  const int x = builder.Input("x", {{16}, 0, 0});
  builder.Output("y", builder.Call("twice", "scale", {x}, {{{16}, 64, 1}}));
  TestModel model(builder);
  model.definition.weights = {};
  model.definition.weights_file = nullptr;
  const auto executor = Executor::Create(model.definition);
  CHECK(executor->weights_bytes() == 0 && Result(*executor) == 0);
  executor->ShareParams(*executor->Clone());
  CHECK_THROWS(kWeights, "has 1 tensors, the model has 0",
               executor->LoadParams(SmallModel().WeightsBin()));
}

}  // namespace
}  // namespace tvmake::test

int main() {
  using namespace tvmake::test;
  TestFile();
  TestDamage();
  TestLoadAndShare();
  TestLifetime();
  TestNoWeights();
}
