// What a kernel call through the executor takes over calling the kernel directly.
//
// Usage: call_overhead FOLDER: with graph.json and weights.bin of the chain of small matrix
// products that chain.h, written by figures.py, describes.
#include <tvm/ffi/c_api.h>
#include <tvmake/executor.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" {
#include "chain.h"  // CHAIN_CALLS, CHAIN_WIDTHS, CHAIN_WEIGHT_SHAPES, CHAIN_KERNELS, …
}

namespace {

constexpr std::size_t kCalls = CHAIN_CALLS;
constexpr std::array<int64_t, 2> kWidths{CHAIN_WIDTHS};
constexpr std::array<TVMFFISafeCallType, 2> kKernels{CHAIN_KERNELS};
constexpr std::array<const char*, 2> kNames{CHAIN_KERNEL_NAMES};
constexpr int kRounds = 300;
constexpr std::size_t kAlignment = 64;

std::string Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The fastest of many rounds: what remains when nothing else disturbs.
template <typename Function>
double NanosecondsPerCall(Function run) {
  double best = 1e300;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    best = std::min(best, time.count() / kCalls);
  }
  return best;
}

// The same calls without an executor: every argument prepared, one loop.
class DirectCalls {
 public:
  DirectCalls() : tensors_(3 * kCalls), arguments_(3 * kCalls) {
    for (std::size_t call = 0; call < kCalls; ++call) {
      const std::size_t in = call % 2;
      const std::size_t out = 1 - in;
      Set(3 * call, values_[in].data(), value_shapes_[in]);
      Set(3 * call + 1, weights_[call].data(), weight_shapes_[in]);
      Set(3 * call + 2, values_[out].data(), value_shapes_[out]);
    }
  }

  void Run() const {
    for (std::size_t call = 0; call < kCalls; ++call) {
      TVMFFIAny result{};
      if (kKernels[call % 2](nullptr, &arguments_[3 * call], 3, &result) != 0) {
        throw std::runtime_error("a kernel failed");
      }
    }
  }

 private:
  using Shape = std::vector<int64_t>;
  struct alignas(kAlignment) Row : std::array<float, std::max(kWidths[0], kWidths[1])> {};
  struct alignas(kAlignment) Matrix : std::array<float, CHAIN_WEIGHT_ELEMENTS> {};

  void Set(std::size_t index, float* data, Shape& shape) {
    tensors_[index] = DLTensor{.data = data,
                               .device = {kDLCPU, 0},
                               .ndim = static_cast<int32_t>(shape.size()),
                               .dtype = {kDLFloat, 32, 1},
                               .shape = shape.data(),
                               .strides = nullptr,
                               .byte_offset = 0};
    arguments_[index].type_index = kTVMFFIDLTensorPtr;
    arguments_[index].v_ptr = &tensors_[index];
  }

  std::array<Shape, 2> value_shapes_{{{1, kWidths[0]}, {1, kWidths[1]}}};
  std::array<Shape, 2> weight_shapes_{{CHAIN_WEIGHT_SHAPES}};
  std::vector<Matrix> weights_ = std::vector<Matrix>(kCalls);
  std::array<Row, 2> values_{};
  std::vector<DLTensor> tensors_;
  std::vector<TVMFFIAny> arguments_;
};

void Measure(const std::string& folder) {
  const std::string graph = Load(folder + "/graph.json");
  const std::string weights = Load(folder + "/weights.bin");
  const auto deleter = [](std::byte* data) {
    ::operator delete(data, std::align_val_t{kAlignment});
  };
  const std::unique_ptr<std::byte, decltype(deleter)> blob(
      static_cast<std::byte*>(::operator new(weights.size(), std::align_val_t{kAlignment})),
      deleter);
  std::memcpy(blob.get(), weights.data(), weights.size());

  const std::array<tvmake::Kernel, 2> kernels{{{kNames[0], kKernels[0]}, {kNames[1], kKernels[1]}}};
  const tvmake::ModelDefinition model{.name = "chain",
                                      .graph_json = graph,
                                      .weights = {blob.get(), weights.size()},
                                      .kernels = kernels,
                                      .required_cpu_features = {}};
  const auto executor = tvmake::Executor::Create(model, {.num_threads = 1, .weights_path = {}});
  if (executor->num_calls() != kCalls) throw std::runtime_error("the chain has other calls");
  const double inside = NanosecondsPerCall([&] { executor->Run(); });
  const DirectCalls calls;
  const double direct = NanosecondsPerCall([&] { calls.Run(); });
  std::printf("{\"calls\": %zu, \"executor_ns\": %.2f, \"direct_ns\": %.2f}\n", kCalls, inside,
              direct);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  try {
    Measure(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
