// Run() allocates nothing, not even the first time.
#include <tvm/runtime/c_backend_api.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "check.h"
#include "model_builder.h"
#include "tvmake/executor.h"

#if defined(__GLIBC__)

namespace {
std::atomic<bool> counting{false};
std::atomic<int> allocations{0};
}  // namespace

// Interposed for the whole process: operator new ends up here too.
extern "C" {
void* __libc_malloc(size_t bytes);                  // NOLINT: glibc's names
void* __libc_calloc(size_t count, size_t bytes);    // NOLINT
void* __libc_realloc(void* block, size_t bytes);    // NOLINT
void* __libc_memalign(size_t alignment, size_t n);  // NOLINT

void* malloc(size_t bytes) {
  if (counting) ++allocations;
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  if (counting) ++allocations;
  return __libc_calloc(count, bytes);
}
void* realloc(void* block, size_t bytes) {
  if (counting) ++allocations;
  return __libc_realloc(block, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  if (counting) ++allocations;
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** block, size_t alignment, size_t bytes) {
  if (counting) ++allocations;
  *block = __libc_memalign(alignment, bytes);
  return *block == nullptr;
}
}

namespace tvmake::test {
namespace {

template <typename Body>
int CountAllocations(Body&& body) {
  allocations = 0;
  counting = true;
  body();
  counting = false;
  return allocations;
}

// Volatile: compilers may remove an allocation that nobody sees.
void* volatile seen = nullptr;

void TestCounter() {
  CHECK(CountAllocations([] {
          seen = ::operator new(100);
          ::operator delete(seen);
        }) == 1);
  CHECK(CountAllocations([] {
          seen = std::aligned_alloc(64, 128);
          std::free(seen);
        }) == 1);
}

int Nothing(int, TVMParallelGroupEnv*, void*) { return 0; }

int LaunchNothing(void*, const TVMFFIAny*, int32_t, TVMFFIAny*) {
  return TVMBackendParallelLaunch(Nothing, nullptr, 0);
}

void TestParallelKernel() {
  ModelBuilder builder;
  builder.AddKernel("launch", LaunchNothing);
  builder.Output("y", builder.Call("launch", "launch", {}, {{{16}, 0, 0}}));
  const TestModel model(builder);
  const auto executor = Executor::Create(model.definition, {.num_threads = 3});
  CHECK(CountAllocations([&] {
          for (int i = 0; i < 100; ++i) executor->Run();
        }) == 0);
}

void TestExecutor() {
  const TestModel model(SmallModel());
  const auto executor = Executor::Create(model.definition, {.num_threads = 2});
  alignas(64) float x[16] = {};
  alignas(64) float y[16] = {};
  CHECK(CountAllocations([&] { executor->Run(); }) == 0);
  CHECK(CountAllocations([&] {
          executor->SetInput(0, x, sizeof(x));
          executor->Run();
          executor->CopyOutput(0, y, sizeof(y));
          executor->SetInputZeroCopy(0, x, sizeof(x));
          executor->SetOutputZeroCopy(0, y, sizeof(y));
          executor->Run();
          executor->UnbindOutput(0);
          (void)executor->GetOutput(0);
          (void)executor->input_index("x");
        }) == 0);
  CHECK(y[0] == 1);
}

}  // namespace
}  // namespace tvmake::test

int main() {
  tvmake::test::TestCounter();
  tvmake::test::TestExecutor();
  tvmake::test::TestParallelKernel();
}

#else

int main() { std::puts("not counted: this C library offers no other name for its allocator"); }

#endif
