// The thread pool, alone and under executors that run at once. Also built with ThreadSanitizer.
#include <sys/wait.h>
#include <tvm/runtime/c_backend_api.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "model_builder.h"
#include "thread_pool.h"
#include "tvmake/executor.h"

namespace tvmake::test {
namespace {

std::string TakeError() {
  TVMFFIObjectHandle error = nullptr;
  TVMFFIErrorMoveFromRaised(&error);
  if (error == nullptr) return "";
  const TVMFFIByteArray text = TVMFFIErrorGetCellPtr(error)->message;
  std::string message(text.data, text.size);
  TVMFFIObjectDecRef(error);
  return message;
}

struct Counts {
  std::atomic<int> calls[128]{};
  std::atomic<int> num_task{0};
};

int Count(int task_id, TVMParallelGroupEnv* env, void* data) {
  auto* counts = static_cast<Counts*>(data);
  ++counts->calls[task_id];
  counts->num_task = env->num_task;
  return 0;
}

// Every task runs once, for any number of tasks and threads.
void TestEveryTaskOnce() {
  for (const int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    for (int repeat = 0; repeat < 200; ++repeat) {
      for (const int tasks : {0, 1, 2, 3, 4, 7, 128}) {
        Counts counts;
        CHECK(pool.Launch(Count, &counts, tasks) == 0);
        const int expected = tasks == 0 ? counts.num_task.load() : tasks;
        CHECK(counts.num_task == expected && (tasks != 0 || expected >= threads));
        for (int i = 0; i < 128; ++i) CHECK(counts.calls[i] == (i < expected ? 1 : 0));
      }
    }
  }
}

// Launches that are over before all threads have noticed them, with more and with fewer tasks than
// threads: who is late takes none of the next one's tasks.
void TestLateThreads() {
  ThreadPool pool(5);
  for (int repeat = 0; repeat < 5000; ++repeat) {
    for (const int tasks : {2, 32, 3, 5, 4}) {
      Counts counts;
      CHECK(pool.Launch(Count, &counts, tasks) == 0);
      for (int i = 0; i < 128; ++i) CHECK(counts.calls[i] == (i < tasks ? 1 : 0));
    }
  }
}

int FailOdd(int task_id, TVMParallelGroupEnv*, void*) {
  if (task_id % 2 == 0) return 0;
  const std::string message = "task " + std::to_string(task_id) + " failed";
  TVMFFIErrorSetRaisedFromCStr("ValueError", message.c_str());
  return -1;
}

// The error of a failed task reaches the launching thread, and only one.
void TestErrors() {
  ThreadPool pool(3);
  for (int repeat = 0; repeat < 100; ++repeat) {
    CHECK(pool.Launch(FailOdd, nullptr, 3) != 0);
    CHECK(TakeError() == "task 1 failed");
    CHECK(TakeError().empty());
    CHECK(pool.Launch(FailOdd, nullptr, 12) != 0);
    CHECK(TakeError().find(" failed") != std::string::npos);
    Counts counts;
    CHECK(pool.Launch(Count, &counts, 3) == 0 && TakeError().empty());
  }
}

// While a task waits, the others' tasks are done by who is free: this one ends only after all.
struct Waiting {
  std::atomic<int> finished{0};
};

int WaitForOthers(int task_id, TVMParallelGroupEnv* env, void* data) {
  auto* waiting = static_cast<Waiting*>(data);
  if (task_id == 0) {
    while (waiting->finished < env->num_task - 1) std::this_thread::yield();
  }
  ++waiting->finished;
  return 0;
}

void TestBusyThread() {
  ThreadPool pool(2);
  for (int repeat = 0; repeat < 100; ++repeat) {
    Waiting waiting{};
    CHECK(pool.Launch(WaitForOthers, &waiting, repeat % 2 == 0 ? 0 : 10) == 0);
  }
}

int LaunchInside(int, TVMParallelGroupEnv*, void* data) {
  return TVMBackendParallelLaunch(Count, data, 5);
}

void TestNestedLaunch() {
  ThreadPool pool(3);
  const ThreadPool::Scope scope(&pool);
  Counts counts;
  CHECK(TVMBackendParallelLaunch(LaunchInside, &counts, 3) == 0);
  for (int i = 0; i < 5; ++i) CHECK(counts.calls[i] == 3);
  CHECK(ThreadPool::Current() == &pool);
}

// A forked child has no workers; its launches still finish.
void TestFork() {
  auto pool = std::make_unique<ThreadPool>(3);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    Counts counts;
    const bool ran = pool->Launch(Count, &counts, 7) == 0 && counts.calls[6] == 1;
    pool.reset();
    _exit(ran ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

// y = 2 x, each task a part; y must not be that of another executor.
struct Span {
  const float* x;
  float* y;
};

int ScalePart(int task_id, TVMParallelGroupEnv* env, void* data) {
  const Span* span = static_cast<Span*>(data);
  for (int i = task_id; i < 16; i += env->num_task) span->y[i] = 2 * span->x[i];
  return 0;
}

int ParallelScale(void*, const TVMFFIAny* args, int32_t, TVMFFIAny*) {
  Span span{static_cast<float*>(static_cast<DLTensor*>(args[0].v_ptr)->data),
            static_cast<float*>(static_cast<DLTensor*>(args[1].v_ptr)->data)};
  return TVMBackendParallelLaunch(ScalePart, &span, 0);
}

int ParallelBroken(void*, const TVMFFIAny*, int32_t, TVMFFIAny*) {
  return TVMBackendParallelLaunch(FailOdd, nullptr, 2);
}

void TestExecutors() {
  ModelBuilder builder;
  builder.AddKernel("scale", ParallelScale);
  const int x = builder.Input("x", {{16}, 0, 0});
  const int a = builder.Call("a", "scale", {x}, {{{16}, 64, 1}});
  const int b = builder.Call("b", "scale", {a}, {{{16}, 128, 2}});
  builder.Output("y", builder.Call("c", "scale", {b}, {{{16}, 192, 3}}));
  const TestModel model(builder);
  const auto first = Executor::Create(model.definition, {.num_threads = 2});
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([&, id] {
      const auto executor = first->Clone({.num_threads = 1 + id});
      for (int repeat = 0; repeat < 200; ++repeat) {
        float in[16];
        float out[16];
        for (int i = 0; i < 16; ++i) in[i] = static_cast<float>(1000 * id + repeat + i);
        executor->SetInput(0, in, sizeof(in));
        executor->Run();
        executor->CopyOutput(0, out, sizeof(out));
        for (int i = 0; i < 16; ++i) CHECK(out[i] == 8 * in[i]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

void TestExecutorError() {
  ModelBuilder builder;
  builder.AddKernel("broken", ParallelBroken);
  builder.Output("y", builder.Call("bang", "broken", {}, {{{16}, 0, 0}}));
  const TestModel model(builder);
  const auto executor = Executor::Create(model.definition, {.num_threads = 2});
  CHECK_THROWS(kKernel, "'bang' failed: ValueError: task 1 failed", executor->Run());
  CHECK(ThreadPool::Current() == nullptr);
}

void TestWorkspace() {
  void* a = TVMBackendAllocWorkspace(kDLCPU, 0, 1000, kDLFloat, 32);
  void* b = TVMBackendAllocWorkspace(kDLCPU, 0, 0, kDLFloat, 32);
  CHECK(a != nullptr && b != nullptr && a != b);
  CHECK(reinterpret_cast<uintptr_t>(a) % 64 == 0 && reinterpret_cast<uintptr_t>(b) % 64 == 0);
  std::memset(a, 1, 1000);
  CHECK(TVMBackendFreeWorkspace(kDLCPU, 0, a) == 0);
  CHECK(TVMBackendAllocWorkspace(kDLCPU, 0, 1000, kDLFloat, 32) == a);
  CHECK(TVMBackendFreeWorkspace(kDLCPU, 0, a) == 0 && TVMBackendFreeWorkspace(kDLCPU, 0, b) == 0);
}

}  // namespace
}  // namespace tvmake::test

int main() {
  using namespace tvmake::test;
  TestEveryTaskOnce();
  TestLateThreads();
  TestErrors();
  TestBusyThread();
  TestNestedLaunch();
  TestFork();
  TestExecutors();
  TestExecutorError();
  TestWorkspace();
}
