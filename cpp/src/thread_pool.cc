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
      slots_(new Slot[static_cast<size_t>(num_threads)]) {
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
  if (num_tasks <= 0) num_tasks = num_threads_;
  const Scope nested_launches_run_serially(nullptr);
  if (num_tasks == 1 || num_threads_ == 1) return RunSerially(task, data, num_tasks);

  task_ = task;
  data_ = data;
  num_slots_ = std::min(num_tasks, num_threads_);
  const bool can_meet = num_slots_ == num_tasks;
  env_ = {.sync_handle = can_meet ? &meeting_ : nullptr, .num_task = num_tasks};
  meeting_.arrived.store(0, std::memory_order_relaxed);
  meeting_.broken.store(false, std::memory_order_relaxed);
  pending_.store(num_slots_, std::memory_order_relaxed);
  const uint32_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  for (int slot = 0; slot < num_slots_; ++slot) {
    slots_[static_cast<size_t>(slot)].state.store(2 * uint64_t{epoch} + 1,
                                                  std::memory_order_release);
  }
  epoch_.store(epoch);
  epoch_.notify_all();

  for (int slot = 0; slot < num_slots_; ++slot) TakeSlot(slot, epoch);
  for (int left = pending_.load(); left != 0;) left = AwaitChange(pending_, left);
  return RaiseFirstError();
}

void ThreadPool::Work(int id) {
  for (uint32_t epoch = 0;;) {
    epoch = AwaitChange(epoch_, epoch);
    if (stop_) return;
    for (int i = 0; i < num_threads_; ++i) TakeSlot((id + i) % num_threads_, epoch);
  }
}

// A thread that comes late to a launch finds its slots taken, or freed for another epoch.
void ThreadPool::TakeSlot(int slot, uint32_t epoch) {
  std::atomic<uint64_t>& state = slots_[static_cast<size_t>(slot)].state;
  uint64_t is_free = 2 * uint64_t{epoch} + 1;
  if (state.load(std::memory_order_relaxed) != is_free) return;
  if (state.compare_exchange_strong(is_free, is_free - 1, std::memory_order_acquire)) {
    RunSlot(slot);
  }
}

void ThreadPool::RunSlot(int index) {
  Slot& slot = slots_[static_cast<size_t>(index)];
  for (int id = index; id < env_.num_task; id += num_slots_) {
    if (task_(id, &env_, data_) != 0) {
      slot.failed = true;
      // Errors are raised per thread: carry it over to the one that launched.
      TVMFFIErrorMoveFromRaised(&slot.error);
      BreakMeeting();
      break;
    }
  }
  if (pending_.fetch_sub(1) == 1) pending_.notify_one();
}

int ThreadPool::RaiseFirstError() {
  bool failed = false;
  for (int i = 0; i < num_slots_; ++i) {
    Slot& slot = slots_[static_cast<size_t>(i)];
    if (!std::exchange(slot.failed, false)) continue;
    if (slot.error != nullptr) {
      if (!failed) TVMFFIErrorSetRaised(slot.error);
      TVMFFIObjectDecRef(std::exchange(slot.error, nullptr));
    }
    failed = true;
  }
  return failed ? -1 : 0;
}

void ThreadPool::BreakMeeting() {
  meeting_.broken = true;
  ++meeting_.round;
  meeting_.round.notify_all();
}

int ThreadPool::Barrier(TVMParallelGroupEnv* env) {
  if (env->num_task == 1) return 0;
  auto* meeting = static_cast<MeetingPoint*>(env->sync_handle);
  if (meeting == nullptr) {
    TVMFFIErrorSetRaisedFromCStr("RuntimeError",
                                 "a parallel barrier needs one thread for each task");
    return -1;
  }
  const uint32_t round = meeting->round.load();
  if (meeting->arrived.fetch_add(1) + 1 == env->num_task) {
    meeting->arrived.store(0);
    ++meeting->round;
    meeting->round.notify_all();
  } else if (!meeting->broken) {
    AwaitChange(meeting->round, round);
  }
  if (!meeting->broken) return 0;
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", "another task of this parallel loop failed");
  return -1;
}

}  // namespace tvmake
