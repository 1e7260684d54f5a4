/* Runs a compiled model's kernels over the planned arena, as a program for another machine.
 *
 *   program <arena> <weights>   reads both files, calls every kernel, writes the arena back
 *
 * Tensors and calls are in calls.inc, which emulated.py writes. Needs no part of the runtime: here
 * parallel loops run one task after the other.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tvm/ffi/c_api.h>

typedef struct {
  int is_weight;
  size_t offset;
  int32_t rank;
  size_t shape; /* index of its first extent in kShapes */
  DLDataType dtype;
} Tensor;

typedef struct {
  TVMFFISafeCallType function;
  const char* name;
  size_t first; /* argument */
  int32_t count;
} Call;

typedef struct {
  void* handle;
  int32_t num_task;
} Group;

enum { kMostArguments = 64, kTasks = 3 };

int Launch(int (*task)(int, Group*, void*), void* data, int count) {
  Group group = {NULL, count > 0 ? count : kTasks};
  for (int i = 0; i < group.num_task; ++i) {
    const int failed = task(i, &group, data);
    if (failed) return failed;
  }
  return 0;
}

#include "calls.inc"

void TVMFFIErrorSetRaisedFromCStr(const char* kind, const char* message) {
  fprintf(stderr, "%s: %s\n", kind, message);
}

void TVMFFIErrorSetRaisedFromCStrParts(const char* kind, const char** parts, int32_t count) {
  fprintf(stderr, "%s: ", kind);
  for (int32_t i = 0; i < count; ++i) fputs(parts[i], stderr);
  fputs("\n", stderr);
}

static char* Read(const char* path, size_t bytes) {
  enum { kAlignment = 64 };
  char* data = aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment);
  FILE* file = fopen(path, "rb");
  if (data == NULL || file == NULL || fread(data, 1, bytes, file) != bytes) {
    fprintf(stderr, "cannot read %zu bytes of %s\n", bytes, path);
    exit(1);
  }
  fclose(file);
  return data;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  char* const memory[] = {Read(argv[1], kArenaBytes), Read(argv[2], kWeightsBytes)};
  Bind();
  for (size_t c = 0; c < sizeof(kCalls) / sizeof(kCalls[0]); ++c) {
    const Call* call = &kCalls[c];
    DLTensor tensors[kMostArguments];
    TVMFFIAny arguments[kMostArguments], result;
    memset(arguments, 0, sizeof(arguments));
    memset(&result, 0, sizeof(result));
    for (int32_t i = 0; i < call->count; ++i) {
      const Tensor* tensor = &kTensors[kArguments[call->first + (size_t)i]];
      DLTensor view = {.data = memory[tensor->is_weight] + tensor->offset,
                       .device = {kDLCPU, 0},
                       .ndim = tensor->rank,
                       .dtype = tensor->dtype,
                       .shape = (int64_t*)&kShapes[tensor->shape]};
      tensors[i] = view;
      arguments[i].type_index = kTVMFFIDLTensorPtr;
      arguments[i].v_ptr = &tensors[i];
    }
    if (call->function(NULL, arguments, call->count, &result) != 0) {
      fprintf(stderr, "%s failed\n", call->name);
      return 1;
    }
  }
  FILE* file = fopen(argv[1], "wb");
  if (file == NULL || fwrite(memory[0], 1, kArenaBytes, file) != kArenaBytes || fclose(file) != 0) {
    return 1;
  }
  return 0;
}
