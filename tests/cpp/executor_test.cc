// The executor on a small graph: running, bindings, weights, observers.
#include "tvmake/executor.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "check.h"
#include "model_builder.h"

namespace tvmake::test {
namespace {

using Values = std::array<float, 16>;

Values Ramp(float first) {
  Values values;
  for (float& value : values) value = first++;
  return values;
}

void CheckResult(const float* y, const float* x, float weight_step = 1) {
  for (int i = 0; i < 16; ++i) CHECK(y[i] == 2 * (x[i] + weight_step * static_cast<float>(i)) + 1);
}

const float* Floats(const DLTensor& tensor) { return static_cast<const float*>(tensor.data); }

struct alignas(64) Buffer {
  Values values{};
};

// A DLTensor over `values` of shape [4, 4].
struct Square {
  explicit Square(Values& values)
      : tensor{values.data(), {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape, nullptr, 0} {}
  Square(const Square&) = delete;
  Square& operator=(const Square&) = delete;
  int64_t shape[2] = {4, 4};
  int64_t strides[2] = {4, 1};
  DLTensor tensor;
};

void TestRun(Executor& executor) {
  for (const float first : {1.0F, -7.0F}) {
    const Values x = Ramp(first);
    executor.SetInput(0, x.data(), sizeof(x));
    executor.Run();
    Values y;
    executor.CopyOutput(0, y.data(), sizeof(y));
    CheckResult(y.data(), x.data());
    CHECK(std::memcmp(executor.GetInput(0).data, x.data(), sizeof(x)) == 0);
  }
}

void TestInfo(const Executor& executor) {
  CHECK(executor.num_inputs() == 1 && executor.num_outputs() == 1);
  CHECK(executor.input_index("x") == 0 && executor.output_index("y") == 0);
  CHECK(executor.input_index("w") == -1 && executor.output_index("x") == -1);
  const TensorInfo& y = executor.output_info(0);
  CHECK(y.name == "y" && y.bytes == 64 && y.shape.size() == 2 && y.shape[1] == 4);
  CHECK(y.dtype.code == kDLFloat && y.dtype.bits == 32 && y.dtype.lanes == 1);
  CHECK(executor.arena_bytes() == 256 && executor.alignment() == 64);
  CHECK(executor.weights_bytes() == 192);
  CHECK(executor.num_calls() == 3 && executor.call_name(1) == "twice");
  CHECK_THROWS(kIndex, "input 1 does not exist, there are 1", executor.input_info(1));
  CHECK_THROWS(kIndex, "output 9", executor.GetOutput(9));
  CHECK_THROWS(kIndex, "call 3", executor.call_name(3));
}

void TestZeroCopy(Executor& executor) {
  Buffer x{Ramp(3)};
  Buffer y;
  executor.SetInputZeroCopy(0, x.values.data(), sizeof(x.values));
  executor.SetOutputZeroCopy(0, y.values.data(), sizeof(y.values));
  CHECK(executor.GetInput(0).data == &x && executor.GetOutput(0).data == &y);
  executor.Run();
  CheckResult(y.values.data(), x.values.data());

  // A change of the caller's memory is seen without another call.
  x.values = Ramp(100);
  executor.Run();
  CheckResult(y.values.data(), x.values.data());

  // The output can be unbound, and its place in the arena is used again.
  executor.UnbindOutput(0);
  CHECK(executor.GetOutput(0).data != &y);
  x.values = Ramp(50);
  executor.Run();
  CheckResult(Floats(executor.GetOutput(0)), x.values.data());
  CHECK(y.values[0] == 201);

  // A copy binds the input to the arena again, and leaves the caller's memory alone.
  const Values other = Ramp(-1);
  executor.SetInput(0, other.data(), sizeof(other));
  CHECK(executor.GetInput(0).data != &x && x.values[0] == 50);
  executor.Run();
  CheckResult(Floats(executor.GetOutput(0)), other.data());

  // Setting an input from its own view is a copy to itself.
  executor.SetInput(0, executor.GetInput(0));
  executor.SetInputZeroCopy(0, x.values.data(), sizeof(x.values));
  executor.UnbindInput(0);
  executor.Run();
  CheckResult(Floats(executor.GetOutput(0)), other.data());
}

// Parts of an input follow it into the caller's memory.
void TestParts() {
  const TestModel model(PartsModel());
  const auto executor = Executor::Create(model.definition);
  alignas(64) std::array<float, 32> x;
  alignas(64) std::array<float, 32> y{};
  const auto check = [&](float first) {
    for (float& value : x) value = first++;
    executor->Run();
    for (size_t i = 0; i < 32; ++i) CHECK(y[i] == 4 * x[(i + 16) % 32]);
  };
  executor->SetInputZeroCopy(0, x.data(), sizeof(x));
  executor->SetOutputZeroCopy(0, y.data(), sizeof(y));
  check(1);
  check(-5);
  executor->UnbindInput(0);
  for (float& value : x) value += 100;
  executor->SetInput(0, x.data(), sizeof(x));
  executor->Run();
  for (size_t i = 0; i < 32; ++i) CHECK(y[i] == 4 * x[(i + 16) % 32]);
}

// The bound output is the storage of an in-place result: it is then simply not in place.
void TestZeroCopyOfInPlaceOutput() {
  ModelBuilder builder;
  builder.AddKernel("scale", kernels::Scale);
  const int x = builder.Input("x", {{16}, 0, 0});
  const int a = builder.Call("a", "scale", {x}, {{{16}, 64, 1}});
  builder.Output("y", builder.Call("b", "scale", {a}, {{{16}, 64, 2}}));
  const TestModel model(builder);
  const auto executor = Executor::Create(model.definition);
  Buffer y;
  const Values in = Ramp(1);
  executor->SetInput(0, in.data(), sizeof(in));
  executor->Run();
  CHECK(Floats(executor->GetOutput(0))[3] == 16);
  executor->SetOutputZeroCopy(0, y.values.data(), sizeof(y.values));
  executor->Run();
  CHECK(y.values[3] == 16);
}

void TestBadTensors(Executor& executor) {
  Values values = Ramp(0);
  Buffer aligned;
  const auto reject = [&](auto expect, auto change) {
    Square square(values);
    change(square);
    expect([&] { executor.SetInput(0, square.tensor); });
    expect([&] { executor.SetInputZeroCopy(0, &square.tensor); });
    expect([&] { executor.SetOutputZeroCopy(0, &square.tensor); });
    expect([&] { executor.CopyOutput(0, square.tensor); });
  };
  reject([](auto f) { CHECK_THROWS(kShape, "got shape [4, 5], expected [4, 4]", f()); },
         [](Square& s) { s.shape[1] = 5; });
  reject([](auto f) { CHECK_THROWS(kShape, "got shape [4], expected [4, 4]", f()); },
         [](Square& s) { s.tensor.ndim = 1; });
  reject([](auto f) { CHECK_THROWS(kDType, "got int64, expected float32", f()); },
         [](Square& s) { s.tensor.dtype = {kDLInt, 64, 1}; });
  reject([](auto f) { CHECK_THROWS(kDevice, "device type 2, expected 1 (CPU)", f()); },
         [](Square& s) { s.tensor.device.device_type = kDLCUDA; });
  reject([](auto f) { CHECK_THROWS(kInvalidArgument, "data pointer is null", f()); },
         [](Square& s) { s.tensor.data = nullptr; });
  reject([](auto f) { CHECK_THROWS(kInvalidArgument, "shape is null", f()); },
         [](Square& s) { s.tensor.shape = nullptr; });
  reject([](auto f) { CHECK_THROWS(kInvalidArgument, "got strides [1, 4]", f()); },
         [](Square& s) {
           s.strides[0] = 1;
           s.strides[1] = 4;
           s.tensor.strides = s.strides;
         });
  CHECK_THROWS(kInvalidArgument, "input 'x': the tensor is null",
               executor.SetInputZeroCopy(0, nullptr));
  CHECK_THROWS(kInvalidArgument, "is null", executor.SetInput(0, nullptr, 64));
  CHECK_THROWS(kShape, "got 60 bytes, expected 64 (float32[4, 4])",
               executor.SetInput(0, values.data(), 60));
  CHECK_THROWS(kInvalidArgument, "is 4 bytes past a multiple of 64",
               executor.SetInputZeroCopy(0, aligned.values.data() + 1, 64));
  CHECK_THROWS(kInvalidArgument, "is 8 bytes past a multiple of 64",
               executor.SetOutputZeroCopy(0, aligned.values.data() + 2, 64));
  CHECK_THROWS(kIndex, "input 3 does not exist", executor.SetInput(3, values.data(), 64));
  TestRun(executor);  // nothing was spoiled
}

void TestGoodTensors(Executor& executor) {
  struct {
    float before[2];
    Values values;
  } memory{{-1, -1}, Ramp(5)};
  Square compact(memory.values);
  compact.tensor.strides = compact.strides;
  compact.tensor.data = memory.before;
  compact.tensor.byte_offset = 2 * sizeof(float);
  executor.SetInput(0, compact.tensor);
  executor.Run();
  Values result;
  const Square out(result);
  executor.CopyOutput(0, out.tensor);
  CheckResult(result.data(), memory.values.data());
}

void TestObserver(Executor& executor) {
  const Values x = Ramp(2);
  executor.SetInput(0, x.data(), sizeof(x));
  std::vector<std::string> names;
  executor.Run([&](const Executor::CallView& call) {
    CHECK(call.index == names.size() && call.nanoseconds >= 0);
    CHECK(call.outputs.size() == 1);  // the workspace is no output
    if (call.index == 0) CHECK(Floats(call.outputs[0])[5] == x[5] + 5);
    names.emplace_back(call.name);
  });
  CHECK((names == std::vector<std::string>{"sum", "twice", "more"}));
  CheckResult(Floats(executor.GetOutput(0)), x.data());
}

void TestKernelError() {
  ModelBuilder builder;
  builder.AddKernel("broken", kernels::Broken);
  builder.Output("y", builder.Call("bang", "broken", {}, {{{16}, 0, 0}}));
  const TestModel model(builder);
  const auto executor = Executor::Create(model.definition);
  CHECK_THROWS(kKernel, "model 'small': kernel call 0 'bang' failed: RuntimeError: out of cheese",
               executor->Run());
  CHECK_THROWS(kKernel, "out of cheese", executor->Run([](const Executor::CallView&) {}));

  ModelBuilder mute_builder;
  mute_builder.AddKernel("mute", [](void*, const TVMFFIAny*, int32_t, TVMFFIAny*) { return 1; });
  mute_builder.Output("y", mute_builder.Call("hush", "mute", {}, {{{16}, 0, 0}}));
  const TestModel mute(mute_builder);
  CHECK_THROWS(kKernel, "'hush' failed: no message", Executor::Create(mute.definition)->Run());
}

void TestOptions(const TestModel& model) {
  CHECK(Executor::Create(model.definition, {.num_threads = 3})->num_threads() == 3);
  CHECK_THROWS(kInvalidArgument, "num_threads is -1",
               Executor::Create(model.definition, {.num_threads = -1}));
  setenv("TVM_NUM_THREADS", "2", 1);
  CHECK(Executor::Create(model.definition)->num_threads() == 2);
  setenv("TVM_NUM_THREADS", "many", 1);
  CHECK_THROWS(kInvalidArgument, "TVM_NUM_THREADS is 'many'", Executor::Create(model.definition));
  unsetenv("TVM_NUM_THREADS");
  CHECK(Executor::Create(model.definition)->num_threads() >= 1);
}

// Scalars, empty tensors and names with escapes.
void TestOddTensors() {
  ModelBuilder builder;
  builder.AddKernel("scale", kernels::Scale);
  const int s = builder.Input("sc\\u00e4\\\"lar", {{}, 0, 0});
  const int e = builder.Input("empty", {{3, 0, 2}, 64, 1});
  builder.Output("twice", builder.Call("a", "scale", {s}, {{{}, 64, 2}}));
  builder.Output("nothing", builder.Call("b", "scale", {e}, {{{0}, 128, 3}}));
  builder.set_arena_bytes(128);
  const TestModel model(builder);
  const auto executor = Executor::Create(model.definition);
  const float value = 21;
  CHECK(executor->input_index("sc\u00e4\"lar") == 0);
  executor->SetInput(0, &value, sizeof(value));
  executor->SetInput(1, nullptr, 0);
  executor->SetOutputZeroCopy(1, static_cast<void*>(nullptr), 0);
  executor->Run();
  CHECK(*Floats(executor->GetOutput(0)) == 42);
  CHECK(executor->output_info(1).bytes == 0);
}

}  // namespace
}  // namespace tvmake::test

int main() {
  using namespace tvmake::test;
  const TestModel model(SmallModel());
  const auto executor = tvmake::Executor::Create(model.definition);
  TestRun(*executor);
  TestInfo(*executor);
  TestZeroCopy(*executor);
  TestParts();
  TestZeroCopyOfInPlaceOutput();
  TestBadTensors(*executor);
  TestGoodTensors(*executor);
  TestObserver(*executor);
  TestKernelError();
  TestOptions(model);
  TestOddTensors();
}
