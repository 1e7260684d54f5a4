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
// A launch deals its tasks into as many slots as there are threads. A thread takes its own slot
// first, for the sake of its caches, and then any that nobody has taken. So a launch never waits
// for a thread that has not woken up, and works (alone) even in a forked child.
//
// Launch() may be called by one thread at a time. It allocates nothing.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);  // the caller of Launch() included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Runs task(0…num_tasks-1); 0 tasks: one per thread. Returns 0, or non-zero with the error of the
  // first failed task raised on the calling thread. A launch from inside a task runs serially.
  int Launch(FTVMParallelLambda task, void* data, int num_tasks);
  static int RunSerially(FTVMParallelLambda task, void* data, int num_tasks);

  // Waits for the other tasks of the launch that `env` belongs to.
  static int Barrier(TVMParallelGroupEnv* env);

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

  // A share of one launch's tasks: number s runs tasks s, s + slots, s + 2·slots, ….
  struct alignas(kCacheLine) Slot {
    std::atomic<uint64_t> state{0};  // 2·epoch + 1: free to take in that launch; 2·epoch: taken
    bool failed = false;
    void* error = nullptr;  // owned tvm-ffi error, null when the task raised none
  };

  // Where the tasks of a launch meet. Needs a thread for each task.
  struct MeetingPoint {
    std::atomic<int> arrived{0};
    std::atomic<uint32_t> round{0};
    std::atomic<bool> broken{false};  // a task failed and will not arrive
  };

  void Work(int id);
  void TakeSlot(int slot, uint32_t epoch);
  void RunSlot(int slot);
  void BreakMeeting();
  void Stop();
  int RaiseFirstError();

  const int num_threads_;
  const pid_t owner_;  // the process that has the workers
  std::unique_ptr<Slot[]> slots_;

  // The current launch: written before its slots are freed, read only by who has taken one.
  FTVMParallelLambda task_ = nullptr;
  void* data_ = nullptr;
  int num_slots_ = 0;
  TVMParallelGroupEnv env_{};
  MeetingPoint meeting_;

  alignas(kCacheLine) std::atomic<uint32_t> epoch_{0};  // number of the current launch
  alignas(kCacheLine) std::atomic<int> pending_{0};     // slots that are not finished
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace tvmake

#endif  // TVMAKE_THREAD_POOL_H_
