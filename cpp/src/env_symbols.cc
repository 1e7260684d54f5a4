// Gives the backend functions to modules that tvm-ffi loads and that were not compiled by tvmake:
// what TVM's module.cc does. Only for a runtime library with a tvm-ffi of its own; in a process
// that has TVM's runtime too, this would register everything twice.
#include <tvm/ffi/error.h>
#include <tvm/ffi/extra/c_env_api.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>
#include <tvm/runtime/c_backend_api.h>

#include "thread_pool.h"

namespace tvmake {
namespace {

template <typename Function>
void Register(const char* name, Function* function) {
  TVM_FFI_CHECK_SAFE_CALL(
      TVMFFIEnvModRegisterContextSymbol(name, reinterpret_cast<void*>(function)));
}

// Threads that kernels called by this thread use: with no executor running, just this one.
int NumThreads() {
  const ThreadPool* pool = ThreadPool::Current();
  return pool == nullptr ? 1 : pool->num_threads();
}

TVM_FFI_STATIC_INIT_BLOCK() {
  Register("__TVMFFIFunctionCall", TVMFFIFunctionCall);
  Register("__TVMFFIErrorSetRaisedFromCStr", TVMFFIErrorSetRaisedFromCStr);
  Register("__TVMFFIEnvModLookupFromImports", TVMFFIEnvModLookupFromImports);
  Register("__TVMFFIHandleInitOnce", TVMFFIHandleInitOnce);
  Register("__TVMBackendAllocWorkspace", TVMBackendAllocWorkspace);
  Register("__TVMBackendFreeWorkspace", TVMBackendFreeWorkspace);
  Register("__TVMBackendParallelLaunch", TVMBackendParallelLaunch);
  tvm::ffi::reflection::GlobalDef().def("runtime.NumThreads", NumThreads);
}

}  // namespace
}  // namespace tvmake
