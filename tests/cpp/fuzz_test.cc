// Random damage to graph JSON and weights: always an Error, or an executor that runs. Built with
// the address and undefined-behaviour sanitizers.
//
//   fuzz_test [iterations [seed]]
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "model_builder.h"
#include "tvmake/executor.h"

// A damaged arena size must fail as it would without a sanitizer.
extern "C" const char* __asan_default_options() {  // NOLINT: the sanitizer's name
  return "allocator_may_return_null=1:max_allocation_size_mb=64";
}

namespace tvmake::test {
namespace {

using Random = std::mt19937_64;

size_t Below(Random& random, size_t limit) { return limit == 0 ? 0 : random() % limit; }

constexpr std::string_view kTokens[] = {
    "0",
    "1",
    "-1",
    "64",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "1e999",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\u0000",
    "[]",
    "{}",
    "",
    "\"",
    "null",
    "\"__nop\"",
    "\"__part\"",
    "\"__join\"",
    "\"scale\"",
    "\"int4\"",
};

// Replaces one number, byte or range.
void Damage(Random& random, std::string* text) {
  const std::string_view token = kTokens[Below(random, std::size(kTokens))];
  const size_t at = Below(random, text->size());
  switch (random() % 5) {
    case 0:
      if (!text->empty()) (*text)[at] = static_cast<char>(random());
      return;
    case 1: {
      const size_t digit = text->find_first_of("0123456789", at);
      if (digit == std::string::npos) return;
      const size_t end = text->find_first_not_of("0123456789", digit);
      text->replace(digit, end - digit, token);
      return;
    }
    case 2:
      text->insert(at, token);
      return;
    case 3:
      text->erase(at, Below(random, 1 + text->size() / 8));
      return;
    default:
      text->insert(Below(random, text->size()), text->substr(at, Below(random, 64)));
      return;
  }
}

bool Runs(const ModelDefinition& definition) {
  try {
    const auto executor = Executor::Create(definition, {.num_threads = 1});
    try {
      executor->Run();
    } catch (const Error& error) {
      // Kernels check their arguments, as compiled ones do.
      CHECK(error.kind() == ErrorKind::kKernel);
    }
    return true;
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kGraph || error.kind() == ErrorKind::kWeights ||
          error.kind() == ErrorKind::kMemory);
    return false;
  }
}

int FuzzGraph(Random& random, const ModelBuilder& builder, int iterations) {
  const TestModel model(builder);
  ModelDefinition definition = model.definition;
  int accepted = 0;
  for (int i = 0; i < iterations; ++i) {
    std::string json = model.json;
    for (size_t n = 1 + Below(random, 3); n > 0; --n) Damage(random, &json);
    // An exact heap copy: reading past its end is seen.
    const std::vector<char> exact(json.begin(), json.end());
    definition.graph_json = {exact.data(), exact.size()};
    accepted += Runs(definition);
  }
  return accepted;
}

int FuzzWeights(Random& random, int iterations) {
  const TestModel model(SmallModel());
  const auto executor = Executor::Create(model.definition);
  const std::vector<std::byte> good = SmallModel().WeightsBin();
  int accepted = 0;
  for (int i = 0; i < iterations; ++i) {
    std::vector<std::byte> blob = good;
    for (size_t n = 1 + Below(random, 3); n > 0; --n) {
      blob[Below(random, 88)] = static_cast<std::byte>(random());
    }
    if (random() % 4 == 0) blob.resize(Below(random, blob.size()));
    try {
      executor->LoadParams(blob);
      ++accepted;
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kWeights);
    }
    executor->Run();
  }
  return accepted;
}

}  // namespace
}  // namespace tvmake::test

int main(int argc, char** argv) {
  const int iterations = argc > 1 ? std::atoi(argv[1]) : 20000;
  std::mt19937_64 random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  using tvmake::test::FuzzGraph;
  const int graphs = FuzzGraph(random, tvmake::test::SmallModel(), iterations / 2);
  const int parts = FuzzGraph(random, tvmake::test::PartsModel(), iterations - iterations / 2);
  const int weights = tvmake::test::FuzzWeights(random, iterations / 4);
  std::printf("accepted %d of %d graphs, %d of %d weights\n", graphs + parts, iterations, weights,
              iterations / 4);
  // Damage that hits a name or a value is harmless: a reader that rejects everything is no reader.
  CHECK(graphs > 0 && parts > 0 && weights > 0);
}
