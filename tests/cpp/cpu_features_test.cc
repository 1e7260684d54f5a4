// A missing CPU feature is an error before anything of the model runs.
#include "cpu_features.h"

#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "model_builder.h"
#include "tvmake/executor.h"

namespace tvmake::test {
namespace {

bool bound = false;

constexpr const char* kCandidates[] = {
    "xop", "tbm",  "fma4", "sse4a", "avx512vp2intersect", "amx-fp16", "amx-tile",
    "sme", "sve2", "bf16", "v"};

void TestMissing() {
  std::vector<const char*> missing;
  for (const char* name : kCandidates) {
    if (CpuHas(name) == false) missing.push_back(name);
  }
  if (missing.empty()) return;  // a CPU that has everything cannot show this
  TestModel model(SmallModel());
  model.definition.bind_backend = [] { bound = true; };
  model.definition.graph_json = "not even read";
  const char* required[] = {"made-up-feature", missing.front(), missing.back()};
  model.definition.required_cpu_features = required;
  const std::string names =
      missing.size() == 1 ? std::string(missing.front()) : std::string(missing.front()) + ", ";
  CHECK_THROWS(kCpu, "model 'small': this CPU lacks " + names, Executor::Create(model.definition));
  CHECK_THROWS(kCpu, "compiled for test-triple, CPU test-cpu", Executor::Create(model.definition));
  CHECK(!bound);
}

void TestPresent() {
  TestModel model(SmallModel());
  model.definition.bind_backend = [] { bound = true; };
#if defined(__x86_64__)
  const char* required[] = {"sse2", "cx8", "made-up-feature"};
  CHECK(CpuHas("sse2") == true && CpuHas("fxsr") == true);
  CHECK(CpuHas("avx2") == static_cast<bool>(__builtin_cpu_supports("avx2")));
  CHECK(CpuHas("fma") == static_cast<bool>(__builtin_cpu_supports("fma")));
  CHECK(CpuHas("avx512f") == static_cast<bool>(__builtin_cpu_supports("avx512f")));
  CHECK(CpuHas("avx512vnni") == static_cast<bool>(__builtin_cpu_supports("avx512vnni")));
  CHECK(CpuHas("bmi2") == static_cast<bool>(__builtin_cpu_supports("bmi2")));
#else
  const char* required[] = {"made-up-feature"};
#endif
  model.definition.required_cpu_features = required;
  CHECK(!CpuHas("made-up-feature").has_value());
  Executor::Create(model.definition)->Run();
  CHECK(bound);
}

}  // namespace
}  // namespace tvmake::test

int main() {
  tvmake::test::TestMissing();
  tvmake::test::TestPresent();
}
