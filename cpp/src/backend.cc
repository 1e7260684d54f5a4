// The functions that kernels call for parallel loops. They stand in for TVM's thread_pool.cc and
// threading_backend.cc, and run on the pool of the executor that is running on this thread.
#include <tvm/runtime/c_backend_api.h>

#include "thread_pool.h"

int TVMBackendParallelLaunch(FTVMParallelLambda flambda, void* cdata, int num_task) {
  using tvmake::ThreadPool;
  ThreadPool* pool = ThreadPool::Current();
  return pool == nullptr ? ThreadPool::RunSerially(flambda, cdata, num_task)
                         : pool->Launch(flambda, cdata, num_task);
}
