#include "thread_pool.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#endif
#include <unistd.h>

#include "text.h"
#include "tvmake/error.h"

namespace tvmake {
namespace {

// Bounds the time that a thread burns while waiting to some tens of microseconds, the usual gap
// between two kernels; then it sleeps, so that executors can share cores.
constexpr int kSpins = 2000;

// Parallel loops are cut into that many pieces: enough for their sums to come out even, few enough
// for the cost of a call not to count. The compiler deals iterations out to 32 or 64 even shares.
constexpr int kFewThreads = 8;
constexpr int kTasksOfFew = 32;
constexpr int kTasksOfMany = 64;
constexpr int kMaxTasks = UINT16_MAX;

inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__ARM_ARCH_7A__)
  asm volatile("yield");
#endif
}

// Waits until `value` is no longer `old` and returns it.
template <typename T>
T AwaitChange(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (const T now = value.load(); now != old) return now;
    Pause();
  }
  for (;;) {
    if (const T now = value.load(); now != old) return now;
    value.wait(old);
  }
}

thread_local ThreadPool* current_pool = nullptr;

}  // namespace

int DefaultNumThreads() {
  if (const char* text = std::getenv("TVM_NUM_THREADS"); text != nullptr && *text != '\0') {
    int value = 0;
    const char* end = text + std::strlen(text);
    if (std::from_chars(text, end, value).ptr != end || value < 1) {
      throw Error(ErrorKind::kInvalidArgument,
                  Cat("TVM_NUM_THREADS is ", Quoted(text), ", expected a positive number"));
    }
    return value;
  }
#if defined(__linux__)
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0) return std::max(1, CPU_COUNT(&cpus));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

ThreadPool* ThreadPool::Current() { return current_pool; }

ThreadPool::Scope::Scope(ThreadPool* pool) : outer_(std::exchange(current_pool, pool)) {}

ThreadPool::Scope::~Scope() { current_pool = outer_; }

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads),
      owner_(getpid()),
      shares_(new Share[static_cast<size_t>(num_threads)]) {
  workers_.reserve(static_cast<size_t>(num_threads - 1));
  try {
    for (int id = 1; id < num_threads; ++id) {
      workers_.emplace_back([this, id] { Work(id); });
    }
  } catch (const std::system_error& error) {
    Stop();
    throw Error(ErrorKind::kMemory,
                Cat("cannot start ", num_threads - 1, " threads: ", error.what()));
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  stop_ = true;
  ++epoch_;
  epoch_.notify_all();
  for (std::thread& worker : workers_) {
    // A forked child has no workers to wait for.
    if (getpid() == owner_) {
      worker.join();
    } else {
      worker.detach();
    }
  }
}

int ThreadPool::RunSerially(FTVMParallelLambda task, void* data, int num_tasks) {
  num_tasks = std::max(num_tasks, 1);
  TVMParallelGroupEnv env{.sync_handle = nullptr, .num_task = num_tasks};
  for (int id = 0; id < num_tasks; ++id) {
    if (const int status = task(id, &env, data); status != 0) return status;
  }
  return 0;
}

int ThreadPool::Launch(FTVMParallelLambda task, void* data, int num_tasks) {
  const Scope nested_launches_run_serially(nullptr);
  if (num_threads_ == 1 || num_tasks == 1 || num_tasks > kMaxTasks) {
    return RunSerially(task, data, num_tasks);
  }
  if (num_tasks <= 0) num_tasks = num_threads_ <= kFewThreads ? kTasksOfFew : kTasksOfMany;
  task_ = task;
  data_ = data;
  env_ = {.sync_handle = nullptr, .num_task = num_tasks};
  failed_.store(false, std::memory_order_relaxed);
  pending_.store(num_tasks, std::memory_order_relaxed);
  const uint32_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  for (int id = 0; id < num_threads_; ++id) {
    const auto first = static_cast<uint16_t>(num_tasks * id / num_threads_);
    const auto last = static_cast<uint16_t>(num_tasks * (id + 1) / num_threads_);
    shares_[static_cast<size_t>(id)].range.store({epoch, first, last}, std::memory_order_release);
  }
  epoch_.store(epoch);
  epoch_.notify_all();

  RunTasks(0, epoch);
  for (int left = pending_.load(); left != 0;) left = AwaitChange(pending_, left);
  if (!failed_) return 0;
  if (error_ != nullptr) {
    TVMFFIErrorSetRaised(error_);
    TVMFFIObjectDecRef(std::exchange(error_, nullptr));
  }
  return -1;
}

void ThreadPool::Work(int id) {
  for (uint32_t epoch = 0;;) {
    epoch = AwaitChange(epoch_, epoch);
    if (stop_) return;
    RunTasks(id, epoch);
  }
}

// Runs what is left of a launch's tasks: first those of thread `id`, then those of the others.
void ThreadPool::RunTasks(int id, uint32_t epoch) {
  int finished = 0;
  for (int i = 0; i < num_threads_; ++i) {
    std::atomic<Range>& range = shares_[static_cast<size_t>((id + i) % num_threads_)].range;
    Range left = range.load();
    while (left.epoch == epoch && left.first < left.last) {
      Range rest = left;
      const int task = i == 0 ? rest.first++ : --rest.last;
      if (!range.compare_exchange_weak(left, rest)) continue;
      Run(task);
      ++finished;
      left = range.load();
    }
  }
  if (finished != 0 && pending_.fetch_sub(finished) == finished) pending_.notify_one();
}

// Once a task has failed, the others need not run.
void ThreadPool::Run(int task) {
  if (failed_ || task_(task, &env_, data_) == 0) return;
  // Errors are raised per thread: carry it over to the one that launched.
  void* error = nullptr;
  TVMFFIErrorMoveFromRaised(&error);
  if (!failed_.exchange(true)) {
    error_ = error;
  } else if (error != nullptr) {
    TVMFFIObjectDecRef(error);
  }
}

}  // namespace tvmake
