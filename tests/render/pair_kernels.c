// The kernels of the model `pair`, as the compiler's would be: packed functions in an object, and
// weak null variables for the runtime's functions.
#include <stdbool.h>
#include <tvm/ffi/c_api.h>

typedef int (*Body)(int task, void* environment, void* data);
__attribute__((weak)) int (*__TVMBackendParallelLaunch)(Body body, void* data, int tasks) = 0;

static DLTensor* Tensor(const TVMFFIAny* args, int index) { return (DLTensor*)args[index].v_ptr; }

static int ScaleRow(int row, void* environment, void* data) {
  const TVMFFIAny* args = (const TVMFFIAny*)data;
  const float* x = (const float*)Tensor(args, 0)->data;
  const float* w = (const float*)Tensor(args, 1)->data;
  float* out = (float*)Tensor(args, 2)->data;
  (void)environment;
  for (int i = 0; i < 3; ++i) out[3 * row + i] = x[3 * row + i] * w[i];
  return 0;
}

int __tvm_ffi_pair_scale(void* self, const TVMFFIAny* args, int32_t n, TVMFFIAny* result) {
  (void)self, (void)result;
  if (n != 3) return -1;
  for (int row = 0; row < 2; ++row) {
    if (__TVMBackendParallelLaunch == 0) return -1;
    ScaleRow(row, 0, (void*)args);
  }
  return 0;
}

int __tvm_ffi_pair_combine(void* self, const TVMFFIAny* args, int32_t n, TVMFFIAny* result) {
  const float* h = (const float*)Tensor(args, 0)->data;
  const int64_t* ids = (const int64_t*)Tensor(args, 1)->data;
  float* y = (float*)Tensor(args, 2)->data;
  bool* positive = (bool*)Tensor(args, 3)->data;
  (void)self, (void)result;
  if (n != 4) return -1;
  for (int row = 0; row < 2; ++row) {
    positive[row] = false;
    for (int i = 0; i < 3; ++i) {
      y[3 * row + i] = h[3 * row + i] + (float)ids[i];
      positive[row] |= y[3 * row + i] > 0;
    }
  }
  return 0;
}
