// Measures what the executor adds to a kernel call: 1000 calls of an empty kernel, through Run()
// and directly. Prints nanoseconds per call; fails above the limit given as argument.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "check.h"
#include "model_builder.h"
#include "tvmake/executor.h"

namespace tvmake::test {
namespace {

constexpr int kCalls = 1000;

int Empty(void*, const TVMFFIAny*, int32_t, TVMFFIAny*) { return 0; }

template <typename Body>
double NanosecondsPerCall(Body&& body) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  for (int repeat = 0; repeat < 200; ++repeat) {
    const auto begin = Clock::now();
    body();
    const std::chrono::duration<double, std::nano> time = Clock::now() - begin;
    best = std::min(best, time.count() / kCalls);
  }
  return best;
}

ModelBuilder Chain() {
  ModelBuilder builder;
  builder.AddKernel("empty", Empty);
  int node = builder.Input("x", {{16}, 0, 0});
  for (int i = 1; i <= kCalls; ++i) {
    node = builder.Call("call" + std::to_string(i), "empty", {node}, {{{16}, 64 * i, i}});
  }
  builder.Output("y", node);
  builder.set_arena_bytes(64 * (kCalls + 1));
  return builder;
}

double Overhead() {
  const TestModel model(Chain());
  const auto executor = Executor::Create(model.definition);
  // Direct calls read the function from memory and check the result too.
  TVMFFISafeCallType volatile empty = Empty;
  TVMFFIAny args[2]{};
  TVMFFIAny result{};
  const double direct = NanosecondsPerCall([&] {
    for (int i = 0; i < kCalls; ++i) CHECK(empty(nullptr, args, 2, &result) == 0);
  });
  const double through = NanosecondsPerCall([&] { executor->Run(); });
  std::printf("direct %.2f ns, executor %.2f ns, overhead %.2f ns per call\n", direct, through,
              through - direct);
  return through - direct;
}

double LoadMilliseconds() {
  const TestModel model(Chain());
  const double nanoseconds =
      kCalls * NanosecondsPerCall([&] { Executor::Create(model.definition, {.num_threads = 1}); });
  std::printf("graph JSON of %zu bytes, %d calls: executor created in %.2f ms\n", model.json.size(),
              kCalls, nanoseconds / 1e6);
  return nanoseconds / 1e6;
}

}  // namespace
}  // namespace tvmake::test

int main(int argc, char** argv) {
  const double limit = argc > 1 ? std::atof(argv[1]) : 60;
  CHECK(tvmake::test::Overhead() < limit);
  CHECK(tvmake::test::LoadMilliseconds() > 0);
}
