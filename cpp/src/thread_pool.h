// Runs the parallel loops of one executor's kernels.
#ifndef TVMAKE_THREAD_POOL_H_
#define TVMAKE_THREAD_POOL_H_

#include <sys/types.h>
#include <tvm/runtime/c_backend_api.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace tvmake {

// TVM_NUM_THREADS when set, else the number of CPUs that this process may run on.
int DefaultNumThreads();

// One pool per executor, its threads left to the scheduler: pinned ones, as TVM's are, would have
// all executors of a process share the same cores.
//
// A launch deals its tasks out in equal ranges, one to a thread. A thread takes its own tasks one
// by one from the front, and when they are used up those of others from the back. So neighbouring
// tasks share a cache, a core that something else keeps busy does not hold up the rest, and a
// launch never waits for a thread that has not woken up; it works (alone) even in a forked child.
//
// Launch() may be called by one thread at a time. It allocates nothing.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);  // the caller of Launch() included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Runs task(0…num_tasks-1); 0 tasks: 32, or 64 for many threads. Returns 0, or non-zero with the
  // error of a failed task raised on the calling thread. A launch from inside a task runs serially.
  int Launch(FTVMParallelLambda task, void* data, int num_tasks);
  static int RunSerially(FTVMParallelLambda task, void* data, int num_tasks);

  // The pool that kernels called by this thread use; null: they run serially.
  static ThreadPool* Current();

  // Makes a pool (or null) current on this thread.
  class Scope {
   public:
    explicit Scope(ThreadPool* pool);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    ThreadPool* const outer_;
  };

 private:
  static constexpr size_t kCacheLine = 64;

  // The tasks of one thread that nobody has taken: first ≤ task < last. In one word with the number
  // of the launch, so that who comes late to a launch can't take a task of the next. Aligned, or
  // Clang would call functions of libatomic.
  struct alignas(8) Range {
    uint32_t epoch;
    uint16_t first;
    uint16_t last;
  };
  struct alignas(kCacheLine) Share {
    std::atomic<Range> range{};
  };

  void Work(int id);
  void RunTasks(int id, uint32_t epoch);
  void Run(int task);
  void Stop();

  const int num_threads_;
  const pid_t owner_;  // the process that has the workers
  std::unique_ptr<Share[]> shares_;

  // The current launch: written before its tasks can be taken, read only by who has taken one.
  FTVMParallelLambda task_ = nullptr;
  void* data_ = nullptr;
  TVMParallelGroupEnv env_{};
  std::atomic<bool> failed_{false};
  void* error_ = nullptr;  // owned tvm-ffi error of the task that failed first, null if it has none

  alignas(kCacheLine) std::atomic<uint32_t> epoch_{0};  // number of the current launch
  alignas(kCacheLine) std::atomic<int> pending_{0};     // tasks that are not finished
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace tvmake

#endif  // TVMAKE_THREAD_POOL_H_
